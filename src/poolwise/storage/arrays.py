"""Reads arrays of numbers from ``.npy`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolwise.errors import DataError


def load_array(path: Path, *, is_mapped: bool = False) -> NDArray[Any]:
    """Return the array in a file; objects in it are refused, never unpickled.

    Args:
        is_mapped: leave it on disk until its parts are read.
    Raises: DataError where it cannot be read.
    """
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r" if is_mapped else None, allow_pickle=False)
    except Exception as error:  # numpy reads the header as Python: a damaged one has errors of the tokenizer too
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"cannot read {path}: {reason}", "wanted a file of numpy's format .npy") from error
    return found
