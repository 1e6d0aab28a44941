"""What the faiss backends share: how an index of faiss is written, read and searched.

Read in faiss-cpu 1.15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from poolwise.errors import ConfigError, DataError
from poolwise.search.backends.base import NOTHING, Found
from poolwise.search.where import Filter

FILE = "faiss.index"


def faiss() -> Any:
    """Return the library. Raises: ConfigError where it is not installed."""
    try:
        import faiss as found
    except ImportError as error:
        raise ConfigError(
            "the backend faiss needs the package faiss-cpu", hint="pip install 'poolwise[search]', or --backend exact"
        ) from error
    return found


def is_installed() -> bool:
    """Return whether the library is there."""
    try:
        faiss()
    except ConfigError:
        return False
    return True


def save_faiss(index: Any, folder: Path) -> None:
    """Write an index of faiss into a folder. Raises: OSError for a full disk.

    Not by name: faiss does not report it when closing the file fails.
    """
    library = faiss()
    with (folder / FILE).open("wb") as file:

        def write(raw: bytes) -> int:
            return file.write(raw)

        library.write_index(index, library.PyCallbackIOWriter(write))


def load_faiss(folder: Path, num_rows: int) -> Any:
    """Return the index of faiss in a folder. Raises: DataError where it is damaged or has other rows."""
    try:
        found = faiss().read_index(str(folder / FILE))
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2].splitlines()[0]
        raise DataError(f"cannot read {folder / FILE}: {reason}", hint="build the index again") from error
    if found.ntotal != num_rows:
        raise DataError(f"{folder / FILE} has {found.ntotal:,} rows", f"wanted {num_rows:,}", "build the index again")
    return found


@dataclass(frozen=True)
class FaissSearcher:
    """Searches an index of faiss.

    Args:
        parameters: returns the parameters of a search among the rows that a selector allows, or all.
    """

    index: Any
    parameters: Callable[[Any], Any]

    def search(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None) -> Found:
        """Return the best rows that faiss finds, with its scores."""
        selector = None
        if matching is not None:
            bits = np.packbits(matching.is_match, bitorder="little")
            selector = faiss().IDSelectorBitmap(bits)
        scores, rows = self.index.search(np.ascontiguousarray(queries), k, params=self.parameters(selector))
        return Found(rows, np.where(rows == NOTHING, -np.inf, scores).astype(np.float32))

    def close(self) -> None:
        """The memory is released with the last reference."""
