"""An index in Qdrant: a collection of its own, on a server, or in a folder (the client's local mode).

Read in qdrant-client 1.20.0. Local mode is for trials: it holds all vectors in memory, and one process may use it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
    table_name,
)
from poolwise.search.stored_rows import ID, TEXT
from poolwise.search.where import NUMBER, Condition, Filter

ABOUT = "poolwise"
"""The key of our record in the metadata of the collection."""
API_KEY = "QDRANT_API_KEY"
"""The variable of the environment that holds a server's key, which no URL does."""
TIMEOUT_SECONDS = 60
UPLOAD_ROWS = 256
"""Rows of one request: below a server's limit of 32 MB with 8,192 numbers and 8 KB of text a row."""


class QdrantSettings(DatabaseSettings):
    """The settings of the backend qdrant. Its local mode has no graph, whatever the ``kind``."""

    url: str | None = Field(
        default=None,
        description="http://host:6333 of a server, whose key is in QDRANT_API_KEY, or $NAME of a variable that holds "
        "it; None is local mode in the index's folder",
    )


class Collection:
    """A client of Qdrant, and the collection of one index there."""

    def __init__(self, name: str, folder: Path, settings: QdrantSettings) -> None:
        with needs_extra("this", "qdrant"):
            import qdrant_client
            from qdrant_client.http.exceptions import ApiException
        self.name, self.models, self._error = table_name(name), qdrant_client.models, ApiException
        self.is_server = settings.url is not None
        url = str(folder) if settings.url is None else expand_url(settings.url)
        self._place = shown_url(url)
        if not self.is_server:
            self.client = self._local(qdrant_client.QdrantClient, url)
            return
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"url={shown_url(url)}", "wanted http://host:6333 or https://host:6333")
        self.client = qdrant_client.QdrantClient(
            url=url,
            api_key=os.environ.get(API_KEY),
            timeout=TIMEOUT_SECONDS,
            check_compatibility=False,  # it would only warn, and where there is no server too
        )

    def __str__(self) -> str:
        return f"the collection {self.name} at {self._place}"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the errors of a server in the block into one that the user can fix. Raises: ConfigError."""
        try:
            yield
        except self._error as error:
            hint = f"start the server, give its url, and set {API_KEY} if it has a key"
            raise ConfigError(f"{self}: {first_line(error)}", "wanted a server that answers", hint) from error

    def found(self) -> object:
        """Return what the collection says of itself. Raises: DataError where it is gone."""
        with self.explained():
            if not self.client.collection_exists(self.name):
                raise DataError(f"{self} is gone", "wanted the collection of the index", AGAIN)
            return (self.client.get_collection(self.name).config.metadata or {}).get(ABOUT)

    @staticmethod
    def _local(client: Any, path: str) -> Any:
        try:
            return client(path=path, force_disable_check_same_thread=True)
        except RuntimeError as error:
            raise ConfigError(
                f"{path} is in use: {first_line(error)}",
                "wanted one process at a time: Qdrant's local mode takes no more",
                "close the other index, or start a server and give its url",
            ) from error


class QdrantSearcher:
    """The collection of an index, open for searches."""

    def __init__(self, collection: Collection, num_rows: int, settings: QdrantSettings) -> None:
        self._collection, self._num_rows, self._settings = collection, num_rows, settings

    def search(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None) -> Found:
        """Return the rows with the largest inner products that Qdrant finds."""
        models, settings = self._collection.models, self._settings
        conditions = None if matching is None else _filter(matching, models)
        limit = k if matching is None or conditions is not None else self._enough(k, matching)
        # Local mode is always exact, and warns where it is asked to be.
        params = models.SearchParams(exact=settings.kind == "flat", hnsw_ef=settings.ef_search)
        params = params if self._collection.is_server else None
        requests = [
            models.QueryRequest(query=row.tolist(), limit=limit, filter=conditions, params=params) for row in queries
        ]
        with self._collection.explained():
            answers = self._collection.client.query_batch_points(self._collection.name, requests)
        lines = [[(int(point.id), point.score) for point in answer.points] for answer in answers]
        if matching is not None:
            lines = [[(row, score) for row, score in line if matching.is_match[row]][:k] for line in lines]
        return padded(lines, k)

    def close(self) -> None:
        """Release the folder, or the connections to a server."""
        self._collection.client.close()

    def _enough(self, k: int, matching: Filter) -> int:
        """Return how many rows have k that match, with a margin, if those that match are spread evenly."""
        return min(self._num_rows, 2 * k * self._num_rows // max(len(matching.rows), 1) + 16)


class Qdrant:
    """A collection of Qdrant."""

    name = "qdrant"
    is_exact = False
    settings: type[Settings] = QdrantSettings

    def build(self, source: Source, folder: Path, settings: QdrantSettings) -> None:
        """Write a collection; of a build that fails nothing is left.

        Raises: ConfigError without the extra, where the server cannot be used, and for a field that it cannot hold.
        """
        if wrong := [name for name in source.rows.columns if '"' in name]:
            raise ConfigError(f"the kept field {wrong[0]!r}", "wanted no '\"' in it", "rename the field in the corpus")
        collection = Collection(source.name, folder, settings)
        client, models = collection.client, collection.models
        try:
            with collection.explained():
                client.create_collection(
                    collection.name,
                    vectors_config=models.VectorParams(size=source.vectors.dim, distance=models.Distance.DOT),
                    hnsw_config=models.HnswConfigDiff(
                        m=settings.m if settings.kind == "hnsw" else 0,  # 0: no graph is built
                        ef_construct=settings.ef_construction,
                    ),
                    metadata={ABOUT: about(source)},
                )
                try:
                    _upload(collection, source)
                except BaseException:
                    client.delete_collection(collection.name)
                    raise
        finally:
            client.close()

    def open(self, source: Source, folder: Path, settings: QdrantSettings) -> Searcher:
        """Return the search in the collection. Raises: DataError where it is gone, or of another model."""
        collection = Collection(source.name, folder, settings)
        try:
            require_same_table(collection.found(), source, str(collection))
        except BaseException:
            collection.client.close()
            raise
        return QdrantSearcher(collection, len(source.vectors), settings)

    def discard(self, name: str, settings: QdrantSettings) -> None:
        """Delete the collection of an index, unless it was in the index's folder."""
        if settings.url is None:
            return
        with discarding(table_name(name)):
            collection = Collection(name, Path(), settings)
            try:
                with collection.explained():
                    collection.client.delete_collection(collection.name)
            finally:
                collection.client.close()


def _upload(collection: Collection, source: Source) -> None:
    for batch in source.batches(UPLOAD_ROWS):
        names = [name for name in batch.columns if name not in (ID, TEXT)]
        payloads = []
        for place, row_id in enumerate(batch.columns[ID]):
            values = {name: batch.columns[name][place] for name in names}
            fields = {name: str(value) for name, value in values.items() if value is not None}
            # An order compares numbers, which Qdrant does not see in texts.
            numbers = {name: float(value) for name, value in fields.items() if re.fullmatch(NUMBER, value)}
            text = batch.columns[TEXT][place] if TEXT in batch.columns else None
            payloads.append({ID: row_id, TEXT: text, "fields": fields, "numbers": numbers})
        numbers_of_rows = list(range(batch.start, batch.start + len(payloads)))
        points = collection.models.Batch(ids=numbers_of_rows, vectors=batch.vectors.tolist(), payloads=payloads)
        collection.client.upsert(collection.name, points, wait=True)
        source.report(batch.start + len(payloads))


def _filter(matching: Filter, models: Any) -> Any | None:
    """Return the conditions as Qdrant's; None where it has no such condition, such as an order of texts."""
    must: list[Any] = []
    must_not: list[Any] = []
    for condition in matching.conditions:
        found = _condition(condition, models)
        if found is None:
            return None
        (must_not if condition.comparison == "!=" else must).append(found)
    return models.Filter(must=must, must_not=must_not)


def _condition(condition: Condition, models: Any) -> Any | None:
    """Return one condition, of ``!=`` that of ``=``; None where Qdrant has no such condition."""
    field, comparison, value = condition.field, condition.comparison, condition.value
    if isinstance(value, tuple):
        parts = [_equal(field, part, models) for part in value]
        return models.Filter(should=parts) if parts and None not in parts else None
    if comparison in ("=", "!="):
        return _equal(field, value, models)
    names = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
    return None if isinstance(value, str) else _within(field, models, **{names[comparison]: value})


def _equal(field: str, value: Any, models: Any) -> Any | None:
    if value is None:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=_key(field)))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _within(field, models, gte=value, lte=value)
    text = str(value).lower() if isinstance(value, bool) else value
    return models.FieldCondition(key=_key(field), match=models.MatchValue(value=text))


def _within(field: str, models: Any, **bounds: Any) -> Any | None:
    if field in (ID, TEXT) or not all(map(math.isfinite, bounds.values())):
        return None
    return models.FieldCondition(key=f'numbers."{field}"', range=models.Range(**bounds))


def _key(field: str) -> str:
    return field if field in (ID, TEXT) else f'fields."{field}"'
