"""Brings a folder to the state of its input: new and changed rows are encoded, removed ones dropped.

Shards are never changed. A run writes new ones beside those of the manifest, and a record of each below ``work/``. When
all rows are there, one rename gives the folder its new manifest; then what it does not name is deleted. A process that
is killed at any moment leaves the old manifest and all finished shards, and the next run finds their rows.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np

from poolwise.corpus.chunks import Chunker
from poolwise.corpus.engines import Engine, ShardTask
from poolwise.corpus.inputs import Table
from poolwise.corpus.known import KnownRows
from poolwise.corpus.manifest import (
    REJECTED,
    SHARDS,
    WORK,
    Manifest,
    Rejected,
    ShardRecord,
    load_manifest,
    save_manifest,
)
from poolwise.corpus.pace import Pace
from poolwise.corpus.rows import Columns, Row, RowReader
from poolwise.corpus.shards import is_intact, load_keys, load_shard, save_shard
from poolwise.errors import DataError, EvalError
from poolwise.records import load_record, save_record
from poolwise.storage.whole_files import flush_file

logger = logging.getLogger(__name__)

MOST_CHARACTERS = 64_000_000
"""A shard ends before its number of rows where its texts are long, so that memory stays flat."""


class Update:
    """One run over the input of a folder whose manifest is written and whose lock is held.

    Args:
        folder: of the corpus.
        shard_rows: the most rows of a new shard.
        is_strict: a row that cannot be used is an error.
    """

    def __init__(
        self,
        folder: Path,
        tables: Sequence[Table],
        columns: Columns,
        *,
        chunker: Chunker | None = None,
        shard_rows: int,
        is_strict: bool = False,
    ) -> None:
        self._folder, self._tables, self._columns = folder, tables, columns
        self._chunker, self._shard_rows, self._is_strict = chunker, shard_rows, is_strict
        self._work = folder / WORK
        self._work.mkdir(exist_ok=True)
        self._known = KnownRows(self._work / "known.sqlite")
        self._shards = _usable_shards(folder)
        for place, shard in enumerate(self._shards):
            self._known.add_shard(place, *load_keys(folder, shard))
        self.num_known = sum(shard.num_rows for shard in self._shards)
        self._fresh: list[ShardRecord] = []
        self.num_read = self.num_encoded = self.num_kept = self.num_documents = self.num_rejected = 0

    def new_rows(self) -> Iterator[list[Row]]:
        """Yield the rows that no shard has, of one document at a time; bad rows are set aside.

        Raises: DataError where a table cannot be read to its end, or for the first bad row if strict.
        """
        with (self._work / REJECTED).open("w", encoding="utf-8") as file:
            for table in self._tables:
                for line, found in RowReader(self._columns, table).rows():
                    self.num_read += 1
                    if isinstance(found, Row) and not self._known.is_new_id(found.id):
                        reason = "the id repeats that of an earlier row"
                        found = Rejected(source=table.name, line=line, id=found.id, reason=reason)
                    if isinstance(found, Rejected):
                        self._reject(found)
                        file.write(found.model_dump_json() + "\n")
                        continue
                    self.num_documents += 1
                    rows = [found] if self._chunker is None else list(self._chunker.split(found))
                    if missing := [row for row in rows if not self._known.keep(row.id, row.digest)]:
                        yield missing
        if not self.num_documents:
            names = ", ".join(table.name for table in self._tables)
            raise DataError(
                f"no usable row in {names}: {self.num_read:,} read, {self.num_rejected:,} set aside",
                "wanted rows with a text",
                f"see {self._work / REJECTED}" if self.num_rejected else "",
            )

    def _reject(self, row: Rejected) -> None:
        self.num_rejected += 1
        if self._is_strict:
            raise DataError(
                f"{row.source}:{row.line}: {row.reason}",
                "wanted no bad row (--strict)",
                "fix it, or leave --strict out",
            )

    def tasks(self, rows: Iterable[list[Row]]) -> Iterator[ShardTask]:
        """Yield the tasks for rows; the rows of a document stay together."""
        used = {shard.number for shard in self._shards}
        # The lowest free numbers: a resumed run gives the shards that are missing the numbers they would have had.
        numbers = (number for number in count() if number not in used)
        group: list[Row] = []
        size = start = 0
        for found in rows:
            group += found
            size += sum(len(row.text) for row in found)
            if len(group) >= self._shard_rows or size >= MOST_CHARACTERS:
                yield ShardTask(next(numbers), group, start, self.num_read)
                group, size, start = [], 0, self.num_read
        if group:
            yield ShardTask(next(numbers), group, start, self.num_read)

    def run(self, engine: Engine, rows: Iterable[list[Row]], pace: Pace) -> Manifest:
        """Encode all new rows, drop removed ones, and return the new manifest."""
        rejected: list[Rejected] = []
        # Closed at once after an interruption, so that no process goes on.
        with closing(engine.run(self.tasks(rows), pace.report)) as results:
            for result in results:
                name = Path(result.record.files[0].name).stem
                save_record(result.record, self._work / f"{name}.json")
                self._fresh.append(result.record)
                self.num_encoded += result.record.num_rows
                rejected += result.rejected
                pace.report(result.position)
        pace.report(self.num_read)
        return self._commit(rejected)

    def close(self) -> None:
        """Close what the run has open; its finished shards stay."""
        self._known.close()

    def _commit(self, rejected: Sequence[Rejected]) -> Manifest:
        """Give the folder its new manifest, and delete what that does not name."""
        num_live = self._known.num_live()
        self.num_kept = sum(num_live.values())
        kept = [self._without_dead(place, count) for place, count in num_live.items()]
        shards = sorted([*kept, *self._fresh], key=lambda shard: (shard.number, shard.files[0].name))
        with (self._work / REJECTED).open("a", encoding="utf-8") as file:
            file.writelines(row.model_dump_json() + "\n" for row in rejected)
        self.num_rejected += len(rejected)
        flush_file(self._work / REJECTED)
        (self._work / REJECTED).replace(self._folder / REJECTED)
        changes = {
            "is_complete": True,
            "num_rows": sum(shard.num_rows for shard in shards),
            "num_rejected": self.num_rejected,
            "shards": shards,
        }
        manifest = load_manifest(self._folder).model_copy(update=changes)
        save_manifest(manifest, self._folder)
        self._known.close()
        shutil.rmtree(self._work)
        _delete_unnamed(self._folder, shards)
        return manifest

    def _without_dead(self, place: int, num_live: int) -> ShardRecord:
        """Return a shard of an earlier run, or a new one with those of its rows that the input still has."""
        shard = self._shards[place]
        if num_live == shard.num_rows:
            return shard
        table, matrix = load_shard(self._folder, shard)
        is_kept = np.array(self._known.are_kept(place, table["id"].to_pylist(), table["digest"].to_pylist()))
        output = load_manifest(self._folder).output
        return save_shard(self._folder, shard.number, table.filter(is_kept), matrix[is_kept], output)


def _usable_shards(folder: Path) -> list[ShardRecord]:
    """Return the shards of the manifest and of an interrupted run; delete files that belong to none.

    A shard that is damaged is left out, so that its rows are encoded again.
    """
    shards = list(load_manifest(folder).shards)
    named = {file.name for shard in shards for file in shard.files}
    for path in sorted((folder / WORK).glob("*.json")):
        try:
            found = load_record(ShardRecord, path)
        except EvalError:  # it is not whole, so the shard does not count
            continue
        if not named & {file.name for file in found.files}:
            shards.append(found)
    intact = []
    for shard in shards:
        if is_intact(folder, shard):
            intact.append(shard)
        else:
            logger.warning(
                "%s is damaged or missing: its rows are encoded again", folder / SHARDS / shard.files[0].name
            )
    _delete_unnamed(folder, shards)
    return intact


def _delete_unnamed(folder: Path, shards: Sequence[ShardRecord]) -> None:
    named = {file.name for shard in shards for file in shard.files}
    for path in (folder / SHARDS).glob("*"):
        if path.name not in named:
            path.unlink()
