"""An index in LanceDB, embedded: a table of its own, in the index's folder or in a database elsewhere.

Read in lancedb 0.40.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from poolwise.errors import ConfigError, DataError, needs_extra
from poolwise.search.backends.base import Found, Searcher, Settings, Source
from poolwise.search.backends.databases import (
    AGAIN,
    DatabaseSettings,
    about,
    discarding,
    expand_url,
    first_line,
    padded,
    require_same_table,
    shown_url,
    sql_of,
    table_name,
)
from poolwise.search.where import NUMBER, Filter

ABOUT = b"poolwise"
"""The key of our record in the metadata of the table's schema."""
EMBEDDING, NUMBER_COLUMN, DISTANCE = "embedding", "row_number", "_distance"
TAKEN = {NUMBER_COLUMN, DISTANCE, "_rowid", "_rowaddr", "_score", "_relevance_score"}
"""Names of columns that no kept field may have."""
MIN_HNSW_ROWS = 256


class LancedbSettings(DatabaseSettings):
    """The settings of the backend lancedb."""

    url: str | None = Field(
        default=None, description="a folder, s3://... or $NAME of a variable that holds it; None is the index's folder"
    )


class LancedbSearcher:
    """The table of an index, open for searches."""

    def __init__(self, table: Any, settings: LancedbSettings) -> None:
        self._table, self._settings = table, settings

    def search(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None) -> Found:
        """Return the rows with the largest inner products that LanceDB finds."""
        conditions = None if matching is None else sql_of(matching.conditions, _text, _number, _quote)
        lines = []
        for row in queries:
            query = self._table.search(row, vector_column_name=EMBEDDING).distance_type("dot")
            query = query.bypass_vector_index() if self._settings.kind == "flat" else query.ef(self._settings.ef_search)
            query = query if conditions is None else query.where(conditions)
            hits = query.limit(k).select([NUMBER_COLUMN, DISTANCE]).to_arrow()
            # Lance's "dot" is a distance: 1 less the inner product.
            scores = 1 - hits[DISTANCE].to_numpy()
            lines.append(list(zip(hits[NUMBER_COLUMN].to_pylist(), scores.tolist(), strict=True)))
        return padded(lines, k)

    def close(self) -> None:
        """Nothing is held open."""


class Lancedb:
    """A table of LanceDB."""

    name = "lancedb"
    is_exact = False
    settings: type[Settings] = LancedbSettings

    def build(self, source: Source, folder: Path, settings: LancedbSettings) -> None:
        """Write a table; of a build that fails nothing is left.

        Raises: ConfigError without the extra, for a database that cannot be opened, and a field that it cannot hold.
        """
        import pyarrow as pa

        schema = _schema(source)
        database = _connect(folder, settings)
        name = table_name(source.name)
        failed: list[BaseException] = []
        try:
            reader = pa.RecordBatchReader.from_batches(schema, _batches(source, schema, failed))
            table = database.create_table(name, reader, mode="create")
            if settings.kind == "hnsw" and len(source.vectors) >= MIN_HNSW_ROWS:
                table.create_index(EMBEDDING, config=_hnsw(settings))
        except BaseException as error:
            database.drop_table(name, ignore_missing=True)
            # Lance makes a RuntimeError of any error of the rows.
            raise (failed[0] if failed else error) from None

    def open(self, source: Source, folder: Path, settings: LancedbSettings) -> Searcher:
        """Return the search in the table. Raises: DataError where it is gone, or of another model."""
        name = table_name(source.name)
        place = f"the table {name} at {_shown(folder, settings)}"
        try:
            table = _connect(folder, settings).open_table(name)
        except ValueError as error:
            raise DataError(
                f"{place}: {first_line(error)}",
                "wanted the table of the index",
                AGAIN,
            ) from error
        found = (table.schema.metadata or {}).get(ABOUT)
        require_same_table(None if found is None else json.loads(found), source, place)
        return LancedbSearcher(table, settings)

    def discard(self, name: str, settings: LancedbSettings) -> None:
        """Delete the table of an index, unless it was in the index's folder."""
        if settings.url is not None:
            with discarding(table_name(name)):
                _connect(Path(), settings).drop_table(table_name(name), ignore_missing=True)


def _connect(folder: Path, settings: LancedbSettings) -> Any:
    with needs_extra("this", "lancedb"):
        import lancedb
    url = str(folder) if settings.url is None else expand_url(settings.url)
    try:
        return lancedb.connect(url)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"{_shown(folder, settings)}: {first_line(error, url)}", "wanted a folder or an object store"
        ) from None


def _shown(folder: Path, settings: LancedbSettings) -> str:
    return str(folder) if settings.url is None else shown_url(settings.url)


def _schema(source: Source) -> Any:
    """Return the columns of the table: those of the rows, the row number and the vector.

    Raises: ConfigError for the name of a field that LanceDB does not take.
    """
    import pyarrow as pa

    names = source.rows.columns
    if wrong := [name for name in names if name in TAKEN or set(name) & set(".`")]:
        raise ConfigError(
            f"the kept field {wrong[0]!r}",
            f"wanted no '.' and no '`' in it, and none of {', '.join(sorted(TAKEN))}",
            "rename the field in the corpus, or take another backend",
        )
    fields = [pa.field(NUMBER_COLUMN, pa.int64()), *source.rows.table.schema]
    fields.append(pa.field(EMBEDDING, pa.list_(pa.float32(), source.vectors.dim)))
    return pa.schema(fields, metadata={ABOUT: json.dumps(about(source))})


def _batches(source: Source, schema: Any, failed: list[BaseException]) -> Iterator[Any]:
    """Yield the rows as record batches; an error is put into ``failed``."""
    import pyarrow as pa

    try:
        for start, vectors in source.vectors.blocks():
            rows = source.rows.table.slice(start, len(vectors))
            numbers = pa.array(np.arange(start, start + len(vectors)))
            lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
            yield from pa.table([numbers, *rows.columns, lists], schema=schema).combine_chunks().to_batches()
            source.report(start + len(vectors))
    except BaseException as error:
        failed.append(error)
        raise


def _hnsw(settings: LancedbSettings) -> Any:
    from lancedb.index import HnswFlat

    return HnswFlat(distance_type="dot", m=settings.m, ef_construction=settings.ef_construction)


def _text(field: str) -> str:
    return f"CAST(`{field}` AS STRING)"


def _number(text: str) -> str:
    return f"CASE WHEN regexp_like({text}, {_quote(NUMBER)}) THEN CAST({text} AS DOUBLE) END"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
