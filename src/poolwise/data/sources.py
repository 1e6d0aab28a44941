"""Reads training sources by name into triples: files, folders, ``poolwise/pydoc`` and Hugging Face data sets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from poolwise.config import SourceConfig
from poolwise.data.dialects import (
    Dialect,
    RowError,
    UnknownDialectError,
    detect_dialect,
    named_dialect,
    named_fields,
    parse_row,
)
from poolwise.data.source_files import find_files, is_hub_name, iter_hub_rows
from poolwise.data.triples import Source, TrainingData, Triple, triples_fingerprint
from poolwise.errors import DataError, collect
from poolwise.records import Category
from poolwise.storage.json_lines import Unreadable
from poolwise.storage.row_files import iter_rows
from poolwise.storage.row_problems import RowProblems, absent_columns

PYDOC = "poolwise/pydoc"


class _Reader:
    """Collects the triples and the problems of one source."""

    def __init__(self, config: SourceConfig) -> None:
        self.name = config.source
        self.category = config.category
        self.triples: list[Triple] = []
        self.problems: list[str] = []
        self.dialects: list[str] = []
        self._named = named_dialect(config.columns) if config.columns else None

    def read(self, table: str, rows: Iterable[tuple[int, object]]) -> None:
        """Read one table; unless the recipe names the fields, the first row decides the dialect of all rows."""
        problems = RowProblems(table)
        dialect = self._named
        fields: dict[str, None] = {}
        try:
            for number, row in rows:
                problems.num_rows += 1
                fields |= dict.fromkeys(row) if self._named and isinstance(row, dict) else {}
                try:
                    if isinstance(row, Unreadable):
                        raise RowError(row.reason)
                    dialect = dialect or detect_dialect(row)
                    parsed = parse_row(row, dialect)
                except UnknownDialectError as error:
                    problems.note(
                        number, f"{error}, or name the fields in the recipe: columns: {{query: NAME, positive: NAME}}"
                    )
                except RowError as error:
                    problems.note(number, str(error))
                else:
                    self.triples += [Triple(*parts, self.name, number) for parts in parsed]
            if problems.num_rows == 0:
                problems.note_file(f"{table}: no rows")
        except DataError as error:  # a file that breaks off must not hide the bad lines of the others
            problems.note_file(str(error))
        self.problems += _absent(table, fields, self._named) or problems.lines()
        if dialect and dialect.name not in self.dialects:
            self.dialects.append(dialect.name)


def _absent(table: str, fields: Mapping[str, None], named: Dialect | None) -> list[str]:
    """Return the fields that the recipe names and no row has; problems of single rows follow from that."""
    asked = named_fields(named).items() if named and fields else []
    absent = {name: f"`columns` names {name!r} as {part}" for name, part in asked if name not in fields}
    return [absent_columns(table, fields, absent, "correct `columns` in the recipe")] if absent else []


def load_source(name: str, category: Category = "retrieval") -> Source:
    """Return one source: a file, a folder of files, ``poolwise/pydoc`` or a Hugging Face data set.

    Raises: DataError where it is missing or has bad lines; the message counts them and shows ten.
    """
    return read_sources([SourceConfig(source=name, category=category)])[0]


def read_sources(sources: Sequence[SourceConfig]) -> list[Source]:
    """Return all rows of every source.

    Raises: DataError that lists all missing sources, or else all bad lines of all sources.
    """
    problems: list[str] = []
    tables = []
    for source in sources:
        try:
            tables.append(_tables(source))
        except DataError as error:
            problems.append(str(error))
    collect([*problems, *_repeated(tables)], DataError, "training sources")
    readers = [_Reader(source) for source in sources]
    for reader, parts in zip(readers, tables, strict=True):
        for table, rows in parts:
            reader.read(table, rows)
    collect([p for reader in readers for p in reader.problems], DataError, "bad training data", "fix or remove them")
    return [_finished(reader) for reader in readers]


def _repeated(tables: Sequence[Sequence[tuple[str, object]]]) -> list[str]:
    """Return the files that are listed twice, such as a file and the folder that contains it."""
    names: dict[Path, list[str]] = {}
    for table in (table for parts in tables for table, _ in parts):
        names.setdefault(Path(table).resolve(), []).append(table)
    return [f"{found[0]}: listed twice" for found in names.values() if len(found) > 1]


def _tables(source: SourceConfig) -> list[tuple[str, Iterable[tuple[int, object]]]]:
    if source.hub is None:
        return source_tables(source.source)
    rows = iter_hub_rows(source.hub, source.config, source.split or "train", source.streaming, source.max_rows)
    return [(source.source, rows)]


def source_tables(name: str) -> list[tuple[str, Iterable[tuple[int, object]]]]:
    """Return the tables of a source: the name of each, and its rows with their numbers.

    Raises: DataError where there is none.
    """
    if name == PYDOC:
        from poolwise.embedded.pydoc import pydoc_train_path

        return [(name, iter_rows(pydoc_train_path()))]
    if is_hub_name(name):
        data_set, _, config = name.partition(":")
        return [(name, iter_hub_rows(data_set, config or None))]
    return [(str(path), iter_rows(path)) for path in find_files(name)]


def _finished(reader: _Reader) -> Source:
    return Source(
        name=reader.name,
        category=reader.category,
        dialect=" and ".join(reader.dialects),
        triples=tuple(reader.triples),
        fingerprint=triples_fingerprint(reader.triples),
    )


def load_sources(sources: Sequence[SourceConfig], max_rows: int | None, seed: int) -> TrainingData:
    """Return the triples of all sources, or a seeded subset of ``max_rows``, in order of source and row.

    Raises: DataError as ``read_sources`` does.
    """
    read = read_sources(sources)
    triples = sample_triples(read, max_rows, seed)
    taken = Counter(triple.source for triple in triples)
    return TrainingData(
        triples=triples,
        fingerprints={source.name: source.fingerprint for source in read},
        dialects={source.name: source.dialect for source in read},
        rows={source.name: taken[source.name] for source in read},
        totals={source.name: len(source.triples) for source in read},
    )


def describe_sources(training: TrainingData) -> list[str]:
    """Return a line per source for users: how its fields were read, the rows used, and those with negatives."""
    negatives = Counter(triple.source for triple in training.triples if triple.negatives)
    return [
        f"{name}: read as {dialect}; {training.rows[name]:,} of {training.totals[name]:,} rows, "
        f"{negatives[name]:,} with negatives"
        for name, dialect in training.dialects.items()
    ]


def sample_triples(sources: Sequence[Source], max_rows: int | None, seed: int) -> list[Triple]:
    """Return at most ``max_rows`` triples, from each source in proportion to its size, in their given order.

    Law: the same sources, cap and seed give the same triples; adding a source does not reshuffle the others.
    """
    sizes = [len(source.triples) for source in sources]
    if max_rows is None or sum(sizes) <= max_rows:
        return [triple for source in sources for triple in source.triples]
    chosen: list[Triple] = []
    for source, quota in zip(sources, _quotas(sizes, max_rows), strict=True):
        rng = np.random.default_rng(_source_seed(seed, source.fingerprint))
        rows = np.sort(rng.permutation(len(source.triples))[:quota])
        chosen += [source.triples[row] for row in rows]
    return chosen


def _quotas(sizes: Sequence[int], total: int) -> list[int]:
    """Split ``total`` in proportion to ``sizes`` by largest remainder; in a tie, the earlier source gets the row."""
    exact = [total * size / sum(sizes) for size in sizes]
    quotas = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (quotas[i] - exact[i], i))
    for i in by_remainder[: total - sum(quotas)]:
        quotas[i] += 1
    return quotas


def _source_seed(seed: int, fingerprint: str) -> int:
    # By content, not by name, so that a moved file gives the same subset.
    return int.from_bytes(hashlib.sha256(f"{seed}:{fingerprint}".encode()).digest()[:8], "big")
