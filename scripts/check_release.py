"""Tries wheel and sdist in ``dist/`` where the checkout is not: version, own files, and a corpus encoded with each.

python scripts/check_release.py

Each is installed into a new environment, beside the dependencies of this one, which has the build backend too. Of a
folder that a .pth file names, Python reads no further .pth files, so the editable install of this environment is not
seen there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAKE = """
import sys
from pathlib import Path
import poolwise
assert Path(poolwise.__file__).is_relative_to(sys.prefix), poolwise.__file__
poolwise.build_model("mean+causal", "poolwise/nano", max_tokens=16).save("model")
Path("texts.txt").write_text("open a file\\nsort a list\\n")
"""


def run(place: Path, *command: str) -> str:
    """Return what a command prints, run in an empty folder without this environment's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "POOLWISE", "VIRTUAL"))}
    done = subprocess.run(
        [str(place / "env" / "bin" / command[0]), *command[1:]],
        cwd=place,
        env={**kept, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:80]} failed without the checkout:\n{done.stderr[-3000:]}")
    return done.stdout


def main() -> int:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in (f"poolwise-{version}-py3-none-any.whl", f"poolwise-{version}.tar.gz"):
        with tempfile.TemporaryDirectory() as place:
            install(ROOT / "dist" / name, Path(place))
            try_installed(version, Path(place))
        print(f"{name} works without the checkout: --version, and a corpus of 2 texts encoded")
    return 0


def install(release: Path, place: Path) -> None:
    """Install a wheel or an sdist into a new environment in ``place``, without any other package."""
    venv.create(place / "env", with_pip=False)
    site = next((place / "env").glob("lib/python*/site-packages"))
    # Before the installation, because it has the build backend too.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(place / "env" / "bin" / "python")
    alone = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *alone, str(release)]
    subprocess.run(command, cwd=place, check=True)


def try_installed(version: str, place: Path) -> None:
    """Run what is installed in ``place``, and check its version and the corpus that it encodes."""
    shown = run(place, "poolwise", "--version").strip()
    assert shown == f"poolwise {version}", shown
    run(place, "python", "-c", MAKE)
    run(place, "poolwise", "encode", "model", "texts.txt", "--out", "out")
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    assert (manifest["is_complete"], manifest["num_rows"]) == (True, 2), manifest


if __name__ == "__main__":
    sys.exit(main())
