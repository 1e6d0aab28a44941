"""Damaged JSON is a ValueError, however it is damaged; no reader of files passes that by."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.storage.json_text import load_json, parse_json

SOURCE = Path(__file__).parents[3] / "src" / "poolwise"


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\ufeff{}", "[" * 100_000, '{"a":' * 100_000])
def test_damaged_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|nested|BOM"):
        parse_json(text)


def test_a_file_in_another_encoding_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"a": "ö"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="utf-8"):
        load_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": "ö"}', encoding="utf-8")
    assert load_json(tmp_path / "a.json") == {"a": "ö"}


def test_files_are_read_by_it() -> None:
    """Nested brackets are a RecursionError of the json module, which no reader expects."""
    direct = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if "json.loads(" in line and "read_" in line
    }
    # The first four run where poolwise is not installed; the last one refuses repeated names as well.
    programs = {f"export/run_{name}.py" for name in ("sentence_transformers", "gguf", "onnx", "merged")}
    assert direct == programs | {"foreign/source.py"}
