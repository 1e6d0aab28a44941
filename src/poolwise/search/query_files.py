"""Files of queries, in the forms that a corpus may have."""

from __future__ import annotations

import tempfile
from pathlib import Path

from poolwise.corpus.inputs import find_tables
from poolwise.corpus.rows import Columns, Row, RowReader
from poolwise.errors import DataError, collect


def load_queries(path: Path) -> list[tuple[str, str]]:
    """Return (id, text) of every query in a file: jsonl, csv, tsv or parquet with fields as in a corpus, or plain text.

    Raises: DataError where it cannot be read, a row has no text, an id repeats, or it is empty.
    """
    with tempfile.TemporaryDirectory() as scratch:
        tables = find_tables([str(path)], "train", Path(scratch))
        found = [(line, row) for table in tables for line, row in RowReader(Columns(), table).rows()]
    problems = [f"{row.source}:{row.line}: {row.reason}" for _, row in found if not isinstance(row, Row)]
    queries = [(row.id, row.text) for _, row in found if isinstance(row, Row)]
    seen: set[str] = set()
    for line, row in found:
        if isinstance(row, Row) and row.id in seen:
            problems.append(f"{path}:{line}: the id {row.id!r} repeats that of an earlier query")
        seen.add(row.id or "")
    collect(problems, DataError, "queries")
    if not queries:
        raise DataError(f"{path} has no queries", "wanted one or more rows with a text")
    return queries
