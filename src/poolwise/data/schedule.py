"""The batch schedule: which rows form each training step; built once per data and seed, the same for every design."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from poolwise.data.triples import Triple, triples_fingerprint
from poolwise.errors import DataError
from poolwise.storage.fingerprints import fingerprint
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import write_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """The batches of a run. ``batches[step]`` are indices into the list of triples it was built from.

    ``data`` is the fingerprint of those triples, ``steps_by_source`` the number of batches from each source, and
    ``unused`` the number of rows in no batch by reason: a row that repeats a text, or a source that is too small.

    Law: a batch comes from one source; all its rows have hard negatives, or none has; no text occurs twice in it,
    whatever its role, case and white space.
    """

    batches: list[list[int]]
    batch_size: int
    seed: int
    data: str
    steps_by_source: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """A hash of the texts and of their order in training; the location of the files does not matter."""
        return fingerprint({"data": self.data, "batches": self.batches})

    def check_data(self, triples: Sequence[Triple]) -> None:
        """Raise DataError unless these are the triples the schedule was built from."""
        found = triples_fingerprint(triples)
        if found != self.data:
            raise DataError(f"the batch schedule was built for other data ({self.data[:12]}, not {found[:12]})")


def build_schedule(triples: Sequence[Triple], *, steps: int, batch_size: int, seed: int) -> Schedule:
    """Return ``steps`` batches of ``batch_size`` rows; sources are drawn in proportion to their usable rows.

    A source that has rows with and without hard negatives gives separate batches of each, if both are large enough.
    When all rows of a source are used, it is shuffled again.

    Law: equal arguments give equal schedules.
    Raises: DataError where no source has enough usable rows for one batch.
    """
    data = triples_fingerprint(triples)
    if steps == 0:
        return Schedule([], batch_size, seed, data)
    keys = _text_keys(triples)
    pools, unused = _usable_pools(triples, keys, batch_size)
    if not pools:
        raise _too_few(triples, unused, batch_size)
    for reason, count in unused.items():
        logger.warning("training rows left out of every batch: %d (%s)", count, reason)
    rng = np.random.default_rng([seed, 0])
    order = _draw_pools([len(pool) for pool in pools], steps, rng)
    streams = [_stream(pool, keys, batch_size, np.random.default_rng([seed, 1, i])) for i, pool in enumerate(pools)]
    batches = [next(streams[pool]) for pool in order]
    counts = Counter(triples[batch[0]].source for batch in batches)
    return Schedule(batches, batch_size, seed, data, dict(sorted(counts.items())), unused)


def save_schedule(schedule: Schedule, path: Path) -> None:
    """Write a schedule as JSON, whole or not at all."""
    write_text(path, json.dumps({"hash": schedule.hash, **asdict(schedule)}) + "\n")


def load_schedule(path: Path) -> Schedule:
    """Return a stored schedule.

    Raises: DataError where the file is missing or damaged, or its hash does not match its batches.
    """
    try:
        tree: Mapping[str, object] = load_json(path)
        stored = tree["hash"]
        schedule = Schedule(**{name: value for name, value in tree.items() if name != "hash"})  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"cannot read batch schedule {path}: {error}", hint="delete it; it will be built again"
        ) from error
    if schedule.hash != stored:
        raise DataError(f"batch schedule {path} has hash {schedule.hash}, not {stored}", hint="delete it")
    return schedule


def _text_keys(triples: Sequence[Triple]) -> list[tuple[int, ...]]:
    """Return a number for each text of each row; texts that differ only in case or white space share one."""
    numbers: dict[bytes, int] = {}
    keys = []
    for triple in triples:
        row = (" ".join(text.casefold().split()) for text in triple.texts)
        # A digest instead of the text, so that long documents are not stored a second time.
        digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in row)
        keys.append(tuple(numbers.setdefault(digest, len(numbers)) for digest in digests))
    return keys


def _usable_pools(
    triples: Sequence[Triple], keys: Sequence[tuple[int, ...]], batch_size: int
) -> tuple[list[list[int]], dict[str, int]]:
    """Return the rows of each kind of batch, and the number of unused rows by reason."""
    by_source: dict[str, tuple[list[int], list[int]]] = {}
    unused: Counter[str] = Counter()
    for row, triple in enumerate(triples):
        if len(set(keys[row])) < len(keys[row]):
            unused["the row contains a text twice"] += 1
        else:
            by_source.setdefault(triple.source, ([], []))[bool(triple.negatives)].append(row)
    pools: list[list[int]] = []
    for source, parts in by_source.items():
        kept = [part for part in parts if _fills_a_batch(part, keys, batch_size)]
        if not kept:  # together they may fill a batch, without anyone's negatives
            kept = [part for part in [parts[0] + parts[1]] if _fills_a_batch(part, keys, batch_size)]
        pools += kept
        if left := len(parts[0]) + len(parts[1]) - sum(map(len, kept)):
            unused[f"too few rows of this kind in {source} for a batch of {batch_size}"] += left
    return pools, dict(unused)


def _fills_a_batch(rows: Sequence[int], keys: Sequence[tuple[int, ...]], batch_size: int) -> bool:
    return len(rows) >= batch_size and next(_first_fit(rows, keys, batch_size), None) is not None


def _too_few(triples: Sequence[Triple], unused: Mapping[str, int], batch_size: int) -> DataError:
    reasons = "; ".join(f"{count} rows: {reason}" for reason, count in unused.items())
    return DataError(
        f"{len(triples)} training rows give no batch of {batch_size}" + (f" ({reasons})" if reasons else ""),
        f"wanted {batch_size} rows of one source without a repeated text",
        "lower train.batch_size, or raise data.max_rows or add data",
    )


def _draw_pools(sizes: Sequence[int], steps: int, rng: np.random.Generator) -> list[int]:
    """Return the pool of each step.

    Systematic sampling: each pool's count is its exact share rounded up or down; its expectation is the share.
    """
    edges = np.cumsum(sizes) / sum(sizes) * steps
    points = np.arange(steps) + rng.random()
    drawn = np.minimum(np.searchsorted(edges, points, side="right"), len(sizes) - 1)
    return [int(pool) for pool in rng.permutation(drawn)]


def _stream(
    rows: Sequence[int], keys: Sequence[tuple[int, ...]], batch_size: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Yield batches without end, one shuffle after the other. Raises: DataError after 100 shuffles without a batch."""
    order = np.array(rows)
    fruitless = 0
    while fruitless < 100:
        rng.shuffle(order)
        fruitless += 1
        for batch in _first_fit(order.tolist(), keys, batch_size):
            fruitless = 0
            yield batch
    raise DataError(f"no batch of {batch_size} rows without a repeated text", hint="lower train.batch_size")


def _first_fit(rows: Sequence[int], keys: Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[int]]:
    """Yield full batches without repeated keys: each row goes into the first open batch after the last with its keys.

    This takes one pass, however often a text repeats. Rows in a batch that never fills are left to the next shuffle.
    """
    open_batches: dict[int, list[int]] = {}
    next_open: dict[int, int] = {}
    last: dict[int, int] = {}
    for row in rows:
        place = _find_open(max((last[key] + 1 for key in keys[row] if key in last), default=0), next_open)
        for key in keys[row]:
            last[key] = place
        batch = open_batches.setdefault(place, [])
        batch.append(row)
        if len(batch) == batch_size:
            next_open[place] = place + 1
            yield open_batches.pop(place)


def _find_open(place: int, next_open: dict[int, int]) -> int:
    """Return the first open batch from ``place`` on, and store the shortcut."""
    root = place
    while root in next_open:
        root = next_open[root]
    while place != root:
        next_open[place], place = root, next_open[place]
    return root
