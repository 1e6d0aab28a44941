"""An index in PostgreSQL with the extension pgvector: a table of its own, searched by SQL.

Read in psycopg 3.3.9, pgvector-python 0.5.1 and pgvector 0.8.5.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

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
from poolwise.search.stored_rows import ID, TEXT
from poolwise.search.where import NUMBER, Filter

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

TIMEOUT_SECONDS = 10
"""To reach the server. Statements have the limit that the server sets."""
_CREATE = (
    "CREATE TABLE {table} (number bigint PRIMARY KEY, id text NOT NULL, text text, fields jsonb NOT NULL, "
    "embedding vector({dim}) NOT NULL)"
)
_COPY = "COPY {table} (number, id, text, fields, embedding) FROM STDIN WITH (FORMAT BINARY)"


class PgvectorSettings(DatabaseSettings):
    """The settings of the backend pgvector. With ``hnsw`` at most ``ef_search`` rows are found."""

    url: str = Field(
        default="$DATABASE_URL",
        description="postgresql://user@host/database, or $NAME of a variable that holds it, with a password if need be",
    )


class Database:
    """A PostgreSQL server, and the table of one index there."""

    def __init__(self, url: str, name: str) -> None:
        with needs_extra("this", "pgvector"):
            import pgvector
            import psycopg
            from pgvector.psycopg import register_vector
        self.url, self.table = expand_url(url), table_name(name)
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise ConfigError(f"url={shown_url(url)}", "wanted postgresql://user@host/database")
        self._psycopg, self._register, self.vector = psycopg, register_vector, pgvector.Vector
        self.json = psycopg.types.json.Jsonb

    def __str__(self) -> str:
        return f"the table {self.table} at {shown_url(self.url)}"

    def connect(self) -> Connection[Any]:
        """Return a new connection. Raises: ConfigError where there is no server, or it refuses."""
        with self.explained():
            return self._psycopg.connect(self.url, connect_timeout=TIMEOUT_SECONDS, application_name="poolwise")

    def do(self, connection: Connection[Any], query: LiteralString, **literals: object) -> Cursor[Any]:
        """Run a query in which ``{table}`` and literals are filled in."""
        return connection.execute(self.composed(query, **literals))

    def composed(self, query: LiteralString, **literals: object) -> Any:
        """Return a query with the table and literals filled in."""
        from psycopg import sql

        values = {name: sql.Literal(value) for name, value in literals.items()}
        return sql.SQL(query).format(table=sql.Identifier(self.table), **values)

    def add_types(self, connection: Connection[Any]) -> None:
        """Make a connection know vectors. Raises: ConfigError where the database has no extension vector."""
        errors = self._psycopg.errors
        try:
            self.do(connection, "CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.FeatureNotSupported, errors.UndefinedFile, errors.InsufficientPrivilege) as error:
            raise ConfigError(
                f"the database at {shown_url(self.url)} has no extension vector: {first_line(error, self.url)}",
                "wanted pgvector, installed there",
                "run CREATE EXTENSION vector as the owner of the database",
            ) from None
        self._register(connection)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the errors of the server in the block into ConfigError or DataError, without the password."""
        try:
            yield
        except self._psycopg.errors.UndefinedTable:
            raise DataError(f"{self} is gone", "wanted the table of the index", AGAIN) from None
        except self._psycopg.DataError as error:
            raise DataError(f"{self} does not take a row: {first_line(error, self.url)}") from None
        except self._psycopg.Error as error:
            # Not chained: the message of the library may hold the password.
            raise ConfigError(f"{self}: {first_line(error, self.url)}") from None


class PgvectorSearcher:
    """The table of an index, open for searches through one connection, which is opened again after it was lost."""

    def __init__(self, database: Database, source: Source, settings: PgvectorSettings) -> None:
        self._database, self._source, self._settings = database, source, settings
        self._lock = threading.Lock()
        self._connection: Connection[Any] | None = None
        with self._connected() as connection:
            comment = connection.execute(
                "SELECT obj_description(%s::regclass, 'pg_class')", [database.table]
            ).fetchall()
        try:
            found = json.loads(comment[0][0] or "null")
        except ValueError:
            found = None
        require_same_table(found, source, str(database))

    def search(self, queries: Float[np.ndarray, "Q D"], k: int, matching: Filter | None) -> Found:
        """Return the rows with the largest inner products that PostgreSQL finds."""
        with self._connected() as connection:
            conditions = "TRUE" if matching is None else self._sql(matching, connection)
            query = (
                f'SELECT number, -(embedding <#> %s) FROM "{self._database.table}" '
                f"WHERE {conditions.replace('%', '%%')} ORDER BY embedding <#> %s LIMIT %s"
            )
            lines = []
            for row in queries:
                vector = self._database.vector(row)
                lines.append(connection.execute(query.encode(), [vector, vector, k]).fetchall())
        return padded(lines, k)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection[Any]]:
        """Yield the connection, for one thread at a time."""
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = self._open()
            with self._database.explained():
                yield self._connection

    def _open(self) -> Connection[Any]:
        connection = self._database.connect()
        with self._database.explained():
            connection.autocommit = True
            self._database.add_types(connection)
            if self._settings.kind == "hnsw":
                self._database.do(connection, "SET hnsw.ef_search = {count}", count=self._settings.ef_search)
                # Goes on until enough rows match; the order is made exact from the stored vectors.
                self._database.do(connection, "SET hnsw.iterative_scan = relaxed_order")
        return connection

    @staticmethod
    def _sql(matching: Filter, connection: Connection[Any]) -> str:
        from psycopg import sql

        def quote(text: str) -> str:
            return sql.Literal(text).as_string(connection)

        def text(field: str) -> str:
            # Byte by byte, as arrow compares.
            return f'{field if field in (ID, TEXT) else f"(fields->>{quote(field)})"} COLLATE "C"'

        def number(text: str) -> str:
            return f"CASE WHEN {text} ~ {quote(NUMBER)} THEN ({text})::float8 END"

        return sql_of(matching.conditions, text, number, quote)


def _copy(database: Database, connection: Connection[Any], source: Source) -> None:
    with connection.cursor() as cursor, cursor.copy(database.composed(_COPY)) as copy:
        copy.set_types(["int8", "text", "text", "jsonb", "vector"])
        for batch in source.batches():
            names = [name for name in batch.columns if name not in (ID, TEXT)]
            texts = batch.columns.get(TEXT, [None] * len(batch.vectors))
            for place, vector in enumerate(batch.vectors):
                row_id, text = batch.columns[ID][place], texts[place]
                fields = {name: batch.columns[name][place] for name in names}
                if "\0" in f"{row_id}{text or ''}{''.join(map(str, fields.values()))}":
                    raise DataError(
                        f"row {row_id!r} has a NUL character", "wanted none: PostgreSQL takes none in texts"
                    )
                copy.write_row((batch.start + place, row_id, text, database.json(fields), database.vector(vector)))
            source.report(batch.start + len(batch.vectors))


def _require_width(settings: PgvectorSettings, dim: int) -> None:
    most = 2000 if settings.kind == "hnsw" else 16_000
    if dim > most:
        raise ConfigError(
            f"{dim} numbers a row with kind={settings.kind}",
            f"wanted at most {most:,}, which pgvector takes",
            "--setting kind=flat, or encode the corpus with --dim",
        )


class Pgvector:
    """A table in PostgreSQL."""

    name = "pgvector"
    is_exact = False
    settings: type[Settings] = PgvectorSettings

    def build(self, source: Source, folder: Path, settings: PgvectorSettings) -> None:
        """Write a table in one transaction: of a build that fails nothing is left.

        Raises: ConfigError without the extra, and where the server cannot be used; DataError for a text that
            PostgreSQL does not take.
        """
        database = Database(settings.url, source.name)
        _require_width(settings, source.vectors.dim)
        with database.connect() as connection, database.explained():
            database.add_types(connection)
            database.do(connection, _CREATE, dim=source.vectors.dim)
            _copy(database, connection, source)
            if settings.kind == "hnsw":
                database.do(
                    connection,
                    "CREATE INDEX ON {table} USING hnsw (embedding vector_ip_ops) "
                    "WITH (m = {m}, ef_construction = {ef_construction})",
                    m=settings.m,
                    ef_construction=settings.ef_construction,
                )
            database.do(connection, "COMMENT ON TABLE {table} IS {about}", about=json.dumps(about(source)))

    def open(self, source: Source, folder: Path, settings: PgvectorSettings) -> Searcher:
        """Return the search in the table. Raises: DataError where it is gone, or of another model."""
        return PgvectorSearcher(Database(settings.url, source.name), source, settings)

    def discard(self, name: str, settings: PgvectorSettings) -> None:
        """Delete the table of an index."""
        with discarding(table_name(name)):
            database = Database(settings.url, name)
            with database.connect() as connection, database.explained():
                database.do(connection, "DROP TABLE IF EXISTS {table}")
