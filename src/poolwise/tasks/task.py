"""The base class of tasks: items with ids, texts to encode, a fingerprint, and a score per item."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from poolwise.config import Prompts
from poolwise.encoding import Embeddings
from poolwise.errors import EvalError
from poolwise.records import Category, ItemScores
from poolwise.storage.fingerprints import fingerprint


class Encoder(Protocol):
    """Turns texts into embeddings."""

    def encode(self, texts: Sequence[str], prompt: str) -> Embeddings:
        """Return one embedding per text, in order; ``prompt`` is put before each text."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One evaluation task, held in memory.

    ``ids`` identify the scored items by row number or query id in the source, so that a capped task and the whole
    task use the same ids. ``group`` marks items that depend on each other (empty: all are independent).

    Law: equal fingerprints mean equal texts, labels, prompts, settings and subset.
    """

    name: str
    category: Category
    metric: str
    ids: tuple[str, ...]
    num_total: int
    prompts: Prompts = field(default_factory=Prompts)
    group: tuple[str, ...] = ()
    subset: Mapping[str, object] | None = None

    @property
    def num_items(self) -> int:
        return len(self.ids)

    @property
    def settings(self) -> dict[str, object]:
        """What the scores depend on besides texts and labels."""
        return {"prompts": self.prompts.model_dump(), **(self.subset or {})}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint([self.name, self.metric, self.ids, self.group, self.settings, self.content()])

    @abstractmethod
    def content(self) -> object:
        """Return texts and labels as JSON values, for the fingerprint."""

    @abstractmethod
    def texts(self) -> list[tuple[str, str]]:
        """Return every (prompt, text) that ``evaluate`` encodes; repeats are allowed."""

    @abstractmethod
    def item_texts(self) -> dict[str, Sequence[str]]:
        """Return the texts of the items for readers, by part; each part has one text per item, in order of ``ids``."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Return the reasons why these items cannot be scored; empty if they can."""

    @abstractmethod
    def capped(self, max_items: int, seed: int) -> Task:
        """Return the task with at most ``max_items`` items; the same seed gives the same items."""

    @abstractmethod
    def evaluate(self, encoder: Encoder) -> ItemScores:
        """Return the scores of the model behind ``encoder``."""

    def record(
        self,
        score: float,
        *,
        values: Sequence[float] = (),
        gold: Sequence[float] | Sequence[str] = (),
        assignments: Sequence[Sequence[int]] = (),
        scores_by_seed: Sequence[float] = (),
        settings: Mapping[str, object] | None = None,
    ) -> ItemScores:
        """Return the record of a finished evaluation.

        Raises: EvalError where the score or an item's value is not a number.
        """
        if not all(map(math.isfinite, (score, *values))):
            raise EvalError(
                f"{self.name}: {self.metric} is undefined for this model",
                "wanted a finite score",
                "perhaps all similarities are equal: run `poolwise doctor` on the model",
            )
        return ItemScores(
            task=self.name,
            category=self.category,
            metric=self.metric,
            score=score,
            num_total=self.num_total,
            fingerprint=self.fingerprint,
            ids=list(self.ids),
            values=list(values),
            gold=list(gold),  # type: ignore[arg-type]  # the parameter's type allows one kind of value
            group=list(self.group) if len(set(self.group)) < len(self.group) else [],
            assignments=[list(row) for row in assignments],
            scores_by_seed=list(scores_by_seed),
            settings={**self.settings, **(settings or {})},
        )


def given_groups(groups: Sequence[str | None], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the groups given in the data; an item without one is its own group; empty if no group is given."""
    if not any(group is not None for group in groups):
        return ()
    return tuple(f"row {item}" if group is None else f"group {group}" for item, group in zip(ids, groups, strict=True))
