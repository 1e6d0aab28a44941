"""Which rows are encoded already, and which ids were seen: in a file, so that memory stays flat."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

_CACHE_KIB = 32 * 1024
_DIGEST_BYTES = 16
"""128 bits of an id's hash: among 10^9 ids the chance that any two share them is 10^-21."""


class KnownRows:
    """The rows of all shards by their hash, and the ids that this run has seen.

    The file is made anew in each run from the shards, which alone count; so it needs no safety against a crash.

    Raises: sqlite3.OperationalError where the disk is full (``errors.is_disk_full``).
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        # The rows are read in another thread than that which commits; never in both at once.
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.execute("CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._file.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, shard INT, is_live INT DEFAULT 0) WITHOUT ROWID")
        self._file.execute("BEGIN")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add_shard(self, shard: int, ids: Sequence[str], digests: Sequence[str]) -> None:
        """Add the rows of a shard; a row that another shard has too counts there only."""
        keys = zip(ids, digests, strict=True)
        entries = [(_key(row_id, digest), shard) for row_id, digest in keys]
        self._file.executemany("INSERT OR IGNORE INTO rows (key, shard) VALUES (?, ?)", entries)

    def is_new_id(self, row_id: str) -> bool:
        """Return whether an id is seen for the first time in this run."""
        return self._file.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_key(row_id),)).rowcount == 1

    def keep(self, row_id: str, digest: str) -> bool:
        """Return whether a shard has this very row, and keep it there."""
        return self._file.execute("UPDATE rows SET is_live = 1 WHERE key = ?", (_key(row_id, digest),)).rowcount == 1

    def are_kept(self, shard: int, ids: Sequence[str], digests: Sequence[str]) -> list[bool]:
        """Return of each of these rows whether it is kept in this shard."""
        query = "SELECT 1 FROM rows WHERE key = ? AND shard = ? AND is_live = 1"
        keys = [_key(row_id, digest) for row_id, digest in zip(ids, digests, strict=True)]
        return [self._file.execute(query, (key, shard)).fetchone() is not None for key in keys]

    def num_live(self) -> dict[int, int]:
        """Return how many rows are kept, by shard; shards without any are left out."""
        return dict(self._file.execute("SELECT shard, COUNT(*) FROM rows WHERE is_live = 1 GROUP BY shard"))


def _key(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=_DIGEST_BYTES).digest()
