"""Rows out of files and Hugging Face data sets, before anybody asks what they mean."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from poolwise.errors import DataError
from poolwise.hub import hub_access

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+)?")


class Unreadable:
    """Stands for a row that could not be read at all, with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def is_hub_name(name: str) -> bool:
    """Return whether ``name`` can only mean a Hugging Face data set: ``owner/name`` or ``owner/name:config``."""
    return (
        _HUB_NAME.fullmatch(name) is not None
        and not name.endswith(SUFFIXES)
        and not name.startswith(".")
        and not Path(name).exists()
    )


def find_files(name: str) -> list[Path]:
    """Return the data files that a file or folder name stands for, in order of name.

    Raises: DataError where there is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
        if not files:
            raise DataError(f"folder {name} has no training file", f"wanted {', '.join(SUFFIXES)}")
        return files
    if not path.is_file():
        raise DataError(f"no such file: {name}", hint="give a file, a folder, poolwise/pydoc or OWNER/NAME of the Hub")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"cannot read {name} by its name", f"wanted {', '.join(SUFFIXES)}")
    return [path]


def iter_rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield (line, row) of a data file; a line that is not JSON comes as ``Unreadable``, blank lines not at all.

    Raises: DataError where the file itself cannot be read.
    """
    number = 0
    try:
        for number, row in _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path):
            yield number, row
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}:{number + 1}: cannot be read further: {reason}", hint="is the file whole?") from error


def _json_rows(path: Path) -> Iterator[tuple[int, object]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parsed(line)


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError covers text that is not UTF-8
        return Unreadable(f"not JSON: {str(error).splitlines()[0]}")


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            yield from enumerate(rows, start=1)
    except pyarrow.ArrowException as error:
        raise DataError(f"cannot read {path}: {str(error).splitlines()[0]}", "wanted a parquet file") from error


def load_hub_rows(name: str) -> Iterable[object]:
    """Return the rows of the train split of a Hugging Face data set, ``OWNER/NAME`` or ``OWNER/NAME:CONFIG``.

    Raises: DataError where it cannot be had: no network, no such name, or a gated set.
    """
    import datasets

    path, _, config = name.partition(":")
    try:
        with hub_access():
            return datasets.load_dataset(path, config or None, split="train", trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"cannot load data set {name!r} from the Hugging Face Hub: {reason}",
            hint="without a network give a file or folder with jsonl, jsonl.gz or parquet instead "
            "(dataset.to_parquet('train.parquet') makes one where there is a network)",
        ) from error
