"""Resolves a source's name to files or to a Hugging Face data set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from poolwise.errors import DataError
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


def load_hub_rows(name: str) -> Iterable[object]:
    """Return the rows of the train split of a Hugging Face data set, ``OWNER/NAME`` or ``OWNER/NAME:CONFIG``.

    Raises: DataError where it cannot be loaded: no network, no such name, or a gated data set.
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
            hint="without a network, give a file or folder with jsonl, csv, tsv or parquet "
            "(make one on a machine with a network: dataset.to_parquet('train.parquet'))",
        ) from error
