"""What tasks of texts with one label each have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from poolwise.tasks.subset import stratified_rows, take, task_rng
from poolwise.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class LabelledTask(Task):
    """Texts with labels; each text is an item."""

    items: tuple[str, ...]
    labels: tuple[str, ...]

    def item_texts(self) -> dict[str, Sequence[str]]:
        return {"text": self.items, "label": self.labels}

    def capped(self, max_items: int, seed: int) -> Self:
        """Return the task with at most ``max_items`` items, in which each label keeps about its share."""
        if self.num_items <= max_items:
            return self
        rows = stratified_rows(self.labels, max_items, task_rng(seed, self.name))
        return replace(
            self,
            ids=take(self.ids, rows),
            group=take(self.group, rows),
            items=take(self.items, rows),
            labels=take(self.labels, rows),
            subset={"max_items": max_items, "subset_seed": seed},
        )
