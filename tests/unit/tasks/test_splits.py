"""``FOLDER@dev``: another split of a task, under a name of its own."""

from pathlib import Path

import pytest

from poolwise.errors import DataError
from poolwise.tasks import load_tasks
from unit.tasks.tiny import write_rows


def pairs(folder: Path, split: str, word: str) -> None:
    rows = [{"sentence1": f"{word} {i}", "sentence2": "b", "score": float(i)} for i in range(3)]
    write_rows(folder / f"{split}.jsonl", rows)


def test_a_split_is_another_task(tmp_path: Path) -> None:
    folder = tmp_path / "sts" / "toy"
    pairs(folder, "test", "t")
    pairs(folder, "dev", "d")
    test, dev = load_tasks([str(folder), f"{folder}@dev"])
    assert (test.name, dev.name) == ("sts/toy", "sts/toy@dev")
    assert test.fingerprint != dev.fingerprint
    assert {text[0] for _, text in dev.texts()} == {"d", "b"}


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    pairs(tmp_path / "sts" / "toy", "test", "t")
    with pytest.raises(DataError, match="dev rows are missing"):
        load_tasks([f"{tmp_path / 'sts' / 'toy'}@dev"])


def test_a_folder_whose_name_has_the_sign(tmp_path: Path) -> None:
    pairs(tmp_path / "sts" / "toy@home", "test", "t")
    assert load_tasks([str(tmp_path / "sts" / "toy@home")])[0].name == "sts/toy@home"
