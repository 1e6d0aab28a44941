"""IVF-PQ of faiss: rows in lists around centroids, each vector as a few bytes. For corpora beyond memory.

Source: Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from poolwise.errors import ConfigError
from poolwise.search.backends.base import Searcher, Settings, Source
from poolwise.search.backends.faiss_files import FaissSearcher, faiss, load_faiss, save_faiss

_ROWS_PER_CENTROID = 39
"""Training rows below which faiss warns that centroids are poor."""
_TRAINING_PER_CENTROID = 64
CODES = 256
"""Codes of one byte: faiss needs as many rows to learn them."""


class IvfPqSettings(Settings):
    """Settings of IVF-PQ, with the names of faiss. Where None is allowed, it is chosen by the number of rows."""

    AT_SEARCH: ClassVar[frozenset[str]] = frozenset({"oversample", "nprobe"})

    nlist: int | None = Field(default=None, ge=1, description="lists; None: 4 times the root of the rows")
    m: int | None = Field(default=None, ge=1, description="bytes of a vector; must divide its width; None: a quarter")
    nprobe: int | None = Field(default=None, ge=1, description="lists that are searched; None: a 16th, at least 16")
    oversample: int = Field(default=10, ge=1, description="times k candidates are scored again with the stored vectors")

    def advice(self) -> str:
        """Return what raises the recall."""
        more = "more, such as 64" if self.nprobe is None else str(2 * self.nprobe)
        return f"--setting nprobe={more}, --setting oversample={2 * self.oversample}, a larger m, --backend faiss-hnsw"


class FaissIvfPq:
    """Lists around centroids; the nearest lists are searched by codes, and the best of them scored again."""

    name = "faiss-ivfpq"
    is_exact = False
    settings = IvfPqSettings

    def build(self, source: Source, folder: Path, settings: IvfPqSettings) -> None:
        """Learn centroids and codes on a sample, and write lists and codes.

        Raises: ConfigError for fewer rows than there are codes, or an ``m`` that does not divide the width.
        """
        library = faiss()
        num_rows, dim = len(source.vectors), source.vectors.dim
        if num_rows < CODES:
            raise ConfigError(
                f"{num_rows:,} rows for faiss-ivfpq", f"wanted {CODES} or more", "use --backend exact or faiss-hnsw"
            )
        m = settings.m or max(divisor for divisor in range(1, max(dim // 4, 1) + 1) if dim % divisor == 0)
        if dim % m:
            raise ConfigError(f"--setting m={m} for vectors of {dim} numbers", "wanted a divisor of the width")
        most = max(num_rows // _ROWS_PER_CENTROID, 1)
        nlist = min(settings.nlist or int(4 * num_rows**0.5), most)
        index = library.IndexIVFPQ(library.IndexFlatIP(dim), dim, nlist, m, 8, library.METRIC_INNER_PRODUCT)
        # Few rows are poor for 256 codes; recall shows whether they suffice.
        index.pq.cp.min_points_per_centroid = index.cp.min_points_per_centroid = 1
        index.train(source.sample(max(_TRAINING_PER_CENTROID * nlist, _ROWS_PER_CENTROID * CODES)))
        for start, block in source.vectors.blocks():
            index.add(block)
            source.report(start + len(block))
        save_faiss(index, folder)

    def open(self, source: Source, folder: Path, settings: IvfPqSettings) -> Searcher:
        """Read lists and codes into memory."""
        library = faiss()
        index = load_faiss(folder, len(source.vectors))
        nprobe = min(settings.nprobe or max(index.nlist // 16, 16), index.nlist)

        def parameters(selector: Any) -> Any:
            return library.SearchParametersIVF(nprobe=nprobe, sel=selector)

        return FaissSearcher(index, parameters)

    def discard(self, name: str, settings: IvfPqSettings) -> None:
        """Nothing is outside the folder."""
