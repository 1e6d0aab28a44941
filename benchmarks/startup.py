"""Start-up time of commands against a bare interpreter, and which modules they import.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys

from _measure import REPEATS, record, seconds

LIMIT = 0.5
HEAVY = ("torch", "transformers", "sentence_transformers", "mteb")


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def main() -> None:
    loaded = f"import sys, poolwise; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.strip()
    assert found == "[]", f"import poolwise loads {found}"
    for command in (["--help"], ["compare", "--help"]):
        full = ["-m", "poolwise.cli.main", *command]
        run(*full)
        times = [seconds(lambda a=full: run(*a)) for _ in range(REPEATS)]
        name = f"poolwise {' '.join(command)}"
        print(f"{name}: {sorted(times)[REPEATS // 2]:.2f} s of at most {LIMIT} s")
        record(f"limit over start-up of {name}", [LIMIT / time for time in times], target=1.0, seconds=times)


if __name__ == "__main__":
    main()
