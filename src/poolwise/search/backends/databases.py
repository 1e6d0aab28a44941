"""What the backends in databases share: their URLs and tables, conditions as SQL, and errors without passwords."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import numpy as np
from pydantic import Field

from poolwise.errors import ConfigError, DataError, PoolwiseError, one_line
from poolwise.search.backends.base import NOTHING, Found, Settings, Source
from poolwise.search.where import Condition

AGAIN = "open the index again, or build it again"
MOST_CANDIDATES = 1000
"""Of a search in a graph: pgvector takes no more."""
logger = logging.getLogger(__name__)
_SECRET = re.compile(r"pass|secret|token|api[-_]?key", re.IGNORECASE)
"""Of the parameters of a URL that hold a secret: ``password``, ``sslpassword``, ``api_key`` ..."""


class DatabaseSettings(Settings):
    """The settings that all backends in databases have, beside the ``url``."""

    AT_SEARCH: ClassVar[frozenset[str]] = Settings.AT_SEARCH | {"url", "ef_search"}

    kind: Literal["flat", "hnsw"] = Field(default="flat", description="flat compares with every row and is exact")
    m: int = Field(default=16, ge=2, le=100, description="hnsw: neighbours of a row in the graph")
    ef_construction: int = Field(default=200, ge=4, le=1000, description="hnsw: candidates when a row is put in")
    ef_search: int = Field(default=128, ge=1, le=MOST_CANDIDATES, description="hnsw: candidates of a search")

    def advice(self) -> str:
        """Return what raises the recall."""
        return f"--setting ef_search={min(2 * self.ef_search, MOST_CANDIDATES)}, --setting kind=flat"


def table_name(name: str) -> str:
    """Return the name of the table or collection of an index: it has one of its own, so none is ever replaced."""
    return f"poolwise_{name}"


def about(source: Source) -> dict[str, Any]:
    """Return what a table says of itself, beside its rows."""
    return {
        "index": source.name,
        "fingerprint": source.fingerprint,
        "similarity": source.similarity,
        "dim": source.vectors.dim,
        "num_rows": len(source.vectors),
    }


def require_same_table(found: object, source: Source, place: str) -> None:
    """Raise DataError where a table is not the one that was written for an index; the message names what differs."""
    wanted = about(source)
    if found == wanted:
        return
    if not isinstance(found, dict):
        what = "has no record of poolwise"
    else:
        what = "; ".join(
            f"{key} {found.get(key)!r} there, {wanted[key]!r} here" for key in wanted if found.get(key) != wanted[key]
        )
    raise DataError(
        f"{place} is not of this index: {what}", "wanted its rows of the same model", "build the index again"
    )


def expand_url(url: str) -> str:
    """Return the URL of a setting: as it is, or for ``$NAME`` the value of that variable of the environment.

    Raises: ConfigError for a variable that is not set, and for a URL with a password, which would be recorded.
    """
    if url.startswith("$"):
        name = url[1:].strip("{}")
        if not os.environ.get(name):
            raise ConfigError(
                f"url={url}, but {name} is not set", "wanted the URL in the environment", f"export {name}=..."
            )
        return os.environ[name]
    if secrets_of(url):
        raise ConfigError(
            f"url={shown_url(url)} with a password, which the index would record",
            "wanted a URL without one, or the name of a variable that holds it",
            "export DATABASE_URL=..., then --setting url='$DATABASE_URL'",
        )
    return url


def shown_url(url: str) -> str:
    """Return a URL as it may be printed: without user, password and parameters."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def secrets_of(url: str) -> list[str]:
    """Return the passwords of a URL, as they are written and decoded, the longest first."""
    parts = urlsplit(url)
    found = [value for name, value in parse_qsl(parts.query) if _SECRET.search(name)]
    found.append(parts.netloc.rpartition("@")[0].partition(":")[2])
    return sorted({text for value in found for text in (value, unquote(value)) if text}, key=len, reverse=True)


def first_line(error: BaseException, url: str = "") -> str:
    """Return the first line of an error's message, without the passwords of a URL."""
    text = one_line(error)
    for secret in secrets_of(url):
        text = text.replace(secret, "***")
    return text


@contextmanager
def discarding(table: str) -> Iterator[None]:
    """Turn an error of the block into a warning that names the table: the index that took its place is finished."""
    try:
        yield
    except PoolwiseError as error:
        logger.warning("%s of the replaced index is not deleted: %s", table, error)


def padded(lines: Sequence[Sequence[tuple[int, float]]], k: int) -> Found:
    """Return the (row number, score) of each query as arrays of width ``k``."""
    rows = np.full((len(lines), k), NOTHING, np.int64)
    scores = np.full((len(lines), k), -np.inf, np.float32)
    for number, line in enumerate(lines):
        if line:
            rows[number, : len(line)], scores[number, : len(line)] = zip(*line, strict=True)
    return Found(rows, scores)


def sql_of(
    conditions: Sequence[Condition],
    text: Callable[[str], str],
    number: Callable[[str], str],
    quote: Callable[[str], str],
) -> str:
    """Return conditions as SQL that means what ``where.find_matching`` computes.

    Args:
        text: returns the expression of a field as a text, which is compared byte by byte.
        number: returns the expression of a text as a number; NULL where it is none.
        quote: returns a text as a literal.
    """
    return " AND ".join(_sql(condition, text(condition.field), number, quote) for condition in conditions) or "TRUE"


def _sql(condition: Condition, text: str, number: Callable[[str], str], quote: Callable[[str], str]) -> str:
    def equal(value: Any) -> str:
        if value is None:
            return f"{text} IS NULL"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return compared("=", value)
        return f"{text} = {quote(str(value).lower() if isinstance(value, bool) else value)}"

    def compared(sign: str, value: float) -> str:
        return f"{number(text)} {sign} CAST('{float(value)!r}' AS DOUBLE PRECISION)"

    if condition.comparison == "in":
        assert isinstance(condition.value, tuple)
        found = " OR ".join(equal(value) for value in condition.value) or "FALSE"
    elif condition.comparison in ("=", "!="):
        found = equal(condition.value)
    elif isinstance(condition.value, str):
        found = f"{text} {condition.comparison} {quote(condition.value)}"
    else:
        assert isinstance(condition.value, int | float)
        found = compared(condition.comparison, condition.value)
    found = f"COALESCE(({found}), FALSE)"
    return f"NOT {found}" if condition.comparison == "!=" else found
