"""Data sets that the library `datasets` reads, from a folder: configurations, splits, columns, streaming, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolwise.config import DataConfig, Recipe, SourceConfig, build_recipe, load_recipe
from poolwise.data import load_sources
from poolwise.errors import ConfigError, DataError

README = """---
configs:
- config_name: de
  data_files: [{split: train, path: de.jsonl}]
- config_name: en
  data_files: [{split: train, path: en.jsonl}, {split: dev, path: en-dev.jsonl}]
---
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = tmp_path / "questions"
    found.mkdir()
    (found / "README.md").write_text(README)
    for name, count in (("de", 3), ("en", 5), ("en-dev", 2)):
        rows = [
            {"ask": f"{name} question {i}", "reply": f"{name} reply {i}", "bad": [f"{name} no {i}"]}
            for i in range(count)
        ]
        (found / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


COLUMNS = {"query": "ask", "positive": "reply", "negative": ["bad"]}


def source(folder: Path, **keys: object) -> SourceConfig:
    return SourceConfig.model_validate({"hub": str(folder), "columns": COLUMNS} | keys)


@pytest.mark.parametrize("streaming", [False, True])
def test_config_split_columns_and_row_limit_are_read(folder: Path, streaming: bool) -> None:
    sources = [
        source(folder, config="en", streaming=streaming, max_rows=4),
        source(folder, config="en", split="dev", streaming=streaming),
        source(folder, config="de", category="sts", streaming=streaming),
    ]
    found = load_sources(sources, None, 0)
    assert list(found.rows.values()) == [4, 2, 3]
    assert [(t.query, t.positive, t.negatives, t.row) for t in found.triples[3:5]] == [
        ("en question 3", "en reply 3", ("en no 3",), 4),
        ("en-dev question 0", "en-dev reply 0", ("en-dev no 0",), 1),
    ]
    assert [name.removeprefix(str(folder)) for name in found.rows] == [":en", ":en:dev", ":de"]


def test_the_fingerprint_is_that_of_the_same_rows_in_a_file(folder: Path) -> None:
    streamed = load_sources([source(folder, config="de", streaming=True)], None, 0)
    file = SourceConfig.model_validate({"source": str(folder / "de.jsonl"), "columns": COLUMNS})
    assert [*streamed.fingerprints.values()] == [*load_sources([file], None, 0).fingerprints.values()]


@pytest.mark.parametrize("keys", [{"config": "fr"}, {"config": "en", "split": "test"}])
def test_what_a_data_set_does_not_have_is_one_error(folder: Path, keys: dict[str, str]) -> None:
    with pytest.raises(DataError, match="cannot load the data set in folder"):
        load_sources([source(folder, **keys)], None, 0)


def test_rows_that_break_off_are_an_error_of_the_source(folder: Path) -> None:
    (folder / "de.jsonl").write_text('{"ask": "a", "reply": "b", "bad": []}\n{"ask": ')
    with pytest.raises(DataError, match="cannot load the data set in folder"):
        load_sources([source(folder, config="de", streaming=True)], None, 0)


def test_keys_of_data_sets_need_hub() -> None:
    with pytest.raises(ValueError, match=r"split, max_rows: only for data sets read with hub"):
        SourceConfig.model_validate({"source": "a.jsonl", "split": "dev", "max_rows": 3})
    with pytest.raises(ValueError, match="give one of them"):
        SourceConfig.model_validate({"source": "a.jsonl", "hub": "org/name"})


def recipe(train: object) -> Recipe:
    tree = {"name": "r", "base": "b", "designs": ["mean+causal"], "reference": "mean+causal", "tasks": ["t"]}
    return build_recipe(tree | {"data": {"train": train}})


def test_a_recipe_with_hub_is_the_same_after_a_dump_and_others_have_no_new_keys() -> None:
    found = recipe([{"hub": "org/name", "split": "dev", "streaming": True}, "pairs.jsonl"])
    dump = found.model_dump(mode="json")
    assert build_recipe(dump) == found
    assert dump["data"]["train"][1] == {"source": "pairs.jsonl", "category": "retrieval"}
    assert DataConfig.model_validate(dump["data"]).train[0].source == "org/name::dev"
    with pytest.raises(ConfigError, match="unknown key"):
        recipe([{"hub": "org/name", "splitt": "dev"}])


def test_a_folder_is_found_beside_the_recipe(folder: Path) -> None:
    tree = {"name": "r", "base": "b", "designs": ["mean+causal"], "reference": "mean+causal", "tasks": ["mteb:x"]}
    tree |= {"data": {"train": [{"hub": "questions", "config": "de", "columns": COLUMNS}]}}
    (folder.parent / "r.yaml").write_text(json.dumps(tree))
    found = load_recipe(folder.parent / "r.yaml")
    assert len(load_sources(found.data.train, None, 0).triples) == 3
