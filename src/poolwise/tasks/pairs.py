"""Sentence-pair tasks: graded similarity (sts), and same or not (pair_classification)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from poolwise.records import ItemScores
from poolwise.tasks import bridge
from poolwise.tasks.subset import stratified_rows, take, task_rng
from poolwise.tasks.task import Encoder, Task


@dataclass(frozen=True, kw_only=True)
class PairTask(Task):
    """Sentence pairs with a gold score or a 0/1 label; an item's value is the cosine similarity of a pair."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: tuple[float, ...]

    def content(self) -> object:
        return [self.first, self.second, self.gold]

    def texts(self) -> list[tuple[str, str]]:
        return [(self.prompts.query, text) for text in (*self.first, *self.second)]

    def item_texts(self) -> dict[str, Sequence[str]]:
        word = "gold score" if self.category == "sts" else "label"
        return {"first": self.first, "second": self.second, word: [f"{gold:g}" for gold in self.gold]}

    def problems(self) -> list[str]:
        if len(set(self.gold)) > 1:
            return []
        word = "scores are equal" if self.category == "sts" else "pairs have one label"
        return [f"{self.name}: all {self.num_items} {word}, wanted at least two different"]

    def capped(self, max_items: int, seed: int) -> PairTask:
        if self.num_items <= max_items:
            return self
        # Nearly all sts scores differ, so stratifying by them would be random sampling.
        rows = stratified_rows(self.gold, max_items, task_rng(seed, self.name))
        return replace(
            self,
            ids=take(self.ids, rows),
            group=take(self.group, rows),
            first=take(self.first, rows),
            second=take(self.second, rows),
            gold=take(self.gold, rows),
            subset={"max_items": max_items, "subset_seed": seed},
        )

    def evaluate(self, encoder: Encoder) -> ItemScores:
        from datasets import Dataset
        from mteb.abstasks import AbsTaskPairClassification, AbsTaskSTS

        is_sts = self.category == "sts"
        base, column = (AbsTaskSTS, "score") if is_sts else (AbsTaskPairClassification, "labels")
        gold = list(self.gold) if is_sts else [int(label) for label in self.gold]
        rows = Dataset.from_dict({"sentence1": list(self.first), "sentence2": list(self.second), column: gold})
        task = bridge.build_task(base, self.category, self.metric, {bridge.SPLIT: rows})
        scores = bridge.run(task, bridge.MtebEncoder(encoder, self.prompts))
        return self.record(scores[self.metric], values=task.predictions["cosine_scores"], gold=self.gold)
