"""Asks pip-audit for known vulnerabilities of the packages in ``requirements.lock``, and says what it could not ask.

python scripts/audit.py [--report]

pip-audit says "no known vulnerabilities" too where the advisory service knows none of the packages, as on a mirror of
the package index. Exit codes: 0 none found, 1 some found, 3 not audited. With --report always 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
SECONDS = 90


def ask() -> tuple[list[dict[str, Any]], str]:
    """Return pip-audit's findings for each package, and why there are none."""
    asked = ["-r", str(LOCK), "--require-hashes", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *asked], capture_output=True, text=True, timeout=SECONDS
        )
        return json.loads(done.stdout)["dependencies"], ""
    except subprocess.TimeoutExpired:
        return [], f"no answer in {SECONDS} s"
    except (ValueError, KeyError):
        return [], next(iter(reversed(done.stderr.strip().splitlines())), f"exit code {done.returncode}")[:200]


def judge(found: list[dict[str, Any]], reason: str) -> tuple[int, str]:
    """Return an exit code, and what was found in words."""
    checked = [package for package in found if "skip_reason" not in package]
    if not checked:
        why = reason or f"the advisory service knows none of the {len(found)} packages"
        return 3, f"not audited: {why}. Run `make audit` where pypi.org can be reached."
    told = f"{len(checked)} of {len(found)} locked packages were audited"
    bad = [f"  {package['name']} {package['version']}: {', '.join(v['id'] for v in package['vulns'])}"
           for package in checked if package.get("vulns")]  # fmt: skip
    if bad:
        return 1, "\n".join([f"{told}; {len(bad)} have known vulnerabilities:", *bad])
    return 0, f"{told}; none has a known vulnerability"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--report", action="store_true", help="exit with 0 whatever is found")
    is_report = parser.parse_args().report
    code, words = judge(*ask())
    print(f"pip-audit: {words}")
    return 0 if is_report else code


if __name__ == "__main__":
    sys.exit(main())
