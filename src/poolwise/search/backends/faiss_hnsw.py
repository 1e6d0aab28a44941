"""HNSW of faiss: a graph of near neighbours, in memory.

Source: arXiv:1603.09320.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from poolwise.search.backends.base import Searcher, Settings, Source
from poolwise.search.backends.faiss_files import FaissSearcher, faiss, load_faiss, save_faiss


class HnswSettings(Settings):
    """Settings of HNSW, with the names of faiss."""

    AT_SEARCH: ClassVar[frozenset[str]] = frozenset({"oversample", "ef_search"})

    m: int = Field(default=32, ge=2, le=512, description="links of a row; the bottom layer has twice as many")
    ef_construction: int = Field(default=200, ge=1, description="candidates when a row is put in")
    ef_search: int = Field(default=128, ge=1, description="candidates of a search; at least k are used")
    storage: Literal["float32", "float16", "int8"] = Field(
        default="float32", description="of the vectors in the graph; results are scored again with the stored vectors"
    )

    def advice(self) -> str:
        """Return what raises the recall."""
        more = ", or storage=float32" if self.storage != "float32" else ""
        return f"--setting ef_search={2 * self.ef_search}, --setting m={2 * self.m}{more}"


class FaissHnsw:
    """A graph whose links lead to near rows. A search follows them from a fixed start."""

    name = "faiss-hnsw"
    is_exact = False
    settings = HnswSettings

    def build(self, source: Source, folder: Path, settings: HnswSettings) -> None:
        """Build the graph in memory, and write it."""
        library = faiss()
        kinds = {"float16": library.ScalarQuantizer.QT_fp16, "int8": library.ScalarQuantizer.QT_8bit}
        metric, dim = library.METRIC_INNER_PRODUCT, source.vectors.dim
        index: Any
        if settings.storage in kinds:
            index = library.IndexHNSWSQ(dim, kinds[settings.storage], settings.m, metric)
            index.train(source.sample(_TRAINING_ROWS))
        else:
            index = library.IndexHNSWFlat(dim, settings.m, metric)
        index.hnsw.efConstruction = settings.ef_construction
        for start, block in source.vectors.blocks():
            index.add(block)
            source.report(start + len(block))
        save_faiss(index, folder)

    def open(self, source: Source, folder: Path, settings: HnswSettings) -> Searcher:
        """Read the graph into memory."""
        library = faiss()

        def parameters(selector: Any) -> Any:
            return library.SearchParametersHNSW(efSearch=settings.ef_search, sel=selector)

        return FaissSearcher(load_faiss(folder, len(source.vectors)), parameters)

    def discard(self, name: str, settings: HnswSettings) -> None:
        """Nothing is outside the folder."""


_TRAINING_ROWS = 65_536
"""From which the ranges of int8 are taken."""
