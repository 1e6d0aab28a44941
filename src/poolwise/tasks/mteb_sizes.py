"""How many texts MTEB's tasks have and how long they are, from the figures that come with mteb: no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolwise.errors import DataError, nearest
from poolwise.upstream.mteb import known_tasks


@dataclass(frozen=True)
class TaskSize:
    """The texts of one task: (number of distinct texts, mean characters of a text) of each of its columns."""

    name: str
    columns: tuple[tuple[int, float], ...]

    @property
    def num_texts(self) -> int:
        """The number of texts, each counted once per column."""
        return sum(count for count, _ in self.columns)

    def num_tokens(self, chars_per_token: float, most: int) -> float:
        """Return the number of tokens, with texts of a column as long as their mean, truncated to ``most`` tokens."""
        return sum(count * min(chars / chars_per_token + 1, most) for count, chars in self.columns)


def mteb_sizes(names: Sequence[str]) -> list[TaskSize]:
    """Return the size of the test split of each task, ``mteb:NAME``.

    Raises: DataError where a name is not one of MTEB, or mteb has no figures of the task.
    """
    known = known_tasks()
    return [_size(name.removeprefix("mteb:"), known) for name in names]


def _size(name: str, known: Mapping[str, Any]) -> TaskSize:
    if name not in known:
        raise DataError(f"MTEB has no task {name!r}", hint=nearest(name, known))
    stats: Mapping[str, Any] = known[name].descriptive_stats or {}
    splits = ["test", *known[name].eval_splits]
    of_split: Mapping[str, Any] = next((stats[split] for split in splits if split in stats), {})
    if not (columns := tuple(_columns(of_split))):
        raise DataError(f"mteb has no figures of the size of mteb:{name}", hint="leave it out to price the others")
    return TaskSize(name, columns)


def _columns(stats: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """Yield the columns of a split. Figures of single subsets repeat those of the whole and are not entered."""
    for value in stats.values():
        if isinstance(value, Mapping) and {"unique_texts", "average_text_length"} <= value.keys():
            yield int(value["unique_texts"]), float(value["average_text_length"])
