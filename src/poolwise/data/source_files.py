"""Resolves a source's name to files or to a Hugging Face data set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from poolwise.errors import DataError, one_line
from poolwise.hub import hub_access
from poolwise.storage.row_files import SUFFIXES

_OTHER_FILES = (".json", ".txt", ".xlsx", ".zip", ".gz")
"""Suffixes of files, never of data sets: a missing file with one is not looked for on the Hub."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+)?")


def is_hub_name(name: str) -> bool:
    """Return whether ``name`` can only mean a Hugging Face data set: ``owner/name`` or ``owner/name:config``."""
    return (
        _HUB_NAME.fullmatch(name) is not None
        and not name.endswith((*SUFFIXES, *_OTHER_FILES))
        and not name.startswith(".")
        and not Path(name).exists()
    )


def find_files(name: str) -> list[Path]:
    """Return the data files of a file or folder name, sorted by name.

    Raises: DataError where there is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
        if not files:
            found = ", ".join(sorted(entry.name for entry in path.iterdir())[:10]) or "nothing"
            raise DataError(f"folder {name} has no training file: found {found}", f"expected {', '.join(SUFFIXES)}")
        return files
    if not path.is_file():
        raise DataError(f"no such file: {name}", hint="give a file, a folder, poolwise/pydoc or OWNER/NAME of the Hub")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"unknown suffix of {name}", f"expected {', '.join(SUFFIXES)}")
    return [path]


def iter_hub_rows(
    name: str, config: str | None = None, split: str = "train", streaming: bool = False, max_rows: int | None = None
) -> Iterator[tuple[int, object]]:
    """Return (row number from 1, row) of a data set that the library ``datasets`` reads.

    Args:
        name: ``OWNER/NAME`` on the Hugging Face Hub, or a folder with a data set.
        config: one of its configurations, for data sets with several.
        split: as ``datasets`` writes it, such as ``train`` or ``train[:10%]``.
        streaming: read the rows as they arrive, and store no copy of the whole split on disk.
        max_rows: read only the first rows; with ``streaming`` no others are downloaded.
    Raises: DataError where it cannot be loaded: no network, no such name, config or split, or a gated data set; the
        iterator raises it where the rows break off.
    """
    import datasets

    asked: dict[str, Any] = {"streaming": True} if streaming else {}
    try:
        with nullcontext() if Path(name).is_dir() else hub_access():
            rows = datasets.load_dataset(name, config, split=split, trust_remote_code=False, **asked)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _cannot_load(name, error) from error
    return _numbered(name, rows, max_rows)


def _numbered(name: str, rows: Iterable[object], max_rows: int | None) -> Iterator[tuple[int, object]]:
    import datasets

    try:
        yield from enumerate(islice(rows, max_rows), start=1)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _cannot_load(name, error) from error


def _cannot_load(name: str, error: Exception) -> DataError:
    reason = one_line(error)
    if Path(name).is_dir():
        return DataError(f"cannot load the data set in folder {name!r}: {reason}", "wanted one that `datasets` reads")
    return DataError(
        f"cannot load data set {name!r} from the Hugging Face Hub: {reason}",
        hint="without a network, give a file or folder with jsonl, csv, tsv or parquet "
        "(make one on a machine with a network: dataset.to_parquet('train.parquet'))",
    )
