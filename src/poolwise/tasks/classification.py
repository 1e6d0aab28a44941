"""Classification tasks: logistic regression on the embeddings of a few training rows per label, ten times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from poolwise.records import ItemScores
from poolwise.tasks import bridge
from poolwise.tasks.labelled import LabelledTask
from poolwise.tasks.subset import take
from poolwise.tasks.task import Encoder
from poolwise.upstream.mteb import drawn_samples

MAX_ITERATIONS = 100
SAMPLES_PER_LABEL = {
    "AmazonCounterfactualClassification": 32,
    "EmotionClassification": 16,
    "EmotionClassification.v2": 16,
    "ToxicConversationsClassification": 16,
    "ToxicConversationsClassification.v2": 16,
    "TweetSentimentExtractionClassification": 32,
    "TweetSentimentExtractionClassification.v2": 32,
    "YahooAnswersTopicsClassification": 32,
    "YahooAnswersTopicsClassification.v2": 32,
    "YelpReviewFullClassification": 128,
    "YelpReviewFullClassification.v2": 128,
}
"""MTEB tasks that do not use 8 rows per label (mteb 2.26), for folders with their names."""


@dataclass(frozen=True, kw_only=True)
class ClassificationTask(LabelledTask):
    """Texts with labels; an item's value is the share of the experiments that predict its label.

    Each experiment trains on ``samples_per_label`` rows of each label, drawn as in mteb; the test rows are the items. A
    capped task keeps all training rows.
    """

    train_texts: tuple[str, ...]
    train_labels: tuple[str, ...]
    samples_per_label: int = 8
    num_experiments: int = 10

    @property
    def settings(self) -> dict[str, object]:
        own = {"samples_per_label": self.samples_per_label, "num_experiments": self.num_experiments}
        return {**super().settings, **own}

    def content(self) -> object:
        return [self.items, self.labels, self.train_texts, self.train_labels]

    def texts(self) -> list[tuple[str, str]]:
        rows = sorted({row for sample in self.samples for row in sample})
        return [(self.prompts.query, text) for text in (*take(self.train_texts, rows), *self.items)]

    def problems(self) -> list[str]:
        found = []
        for part, labels in (("test", self.labels), ("train", self.train_labels)):
            if len(set(labels)) < 2:
                found.append(f"{self.name}: the {part} rows have one label ({labels[0]!r}), wanted at least two")
        if unknown := sorted(set(self.labels) - set(self.train_labels)):
            found.append(f"{self.name}: label {unknown[0]!r} is in the test rows but in no training row")
        return found

    @cached_property
    def samples(self) -> list[list[int]]:
        """The training rows of each experiment, drawn as in mteb: the same order is shuffled again each time."""
        order: list[int] | None = None
        drawn = []
        for _ in range(self.num_experiments):
            order, sample = draw_sample(self.train_labels, self.samples_per_label, order)
            drawn.append(sample)
        return drawn

    def evaluate(self, encoder: Encoder) -> ItemScores:
        from datasets import Dataset, DatasetDict
        from mteb.abstasks import AbsTaskClassification
        from sklearn.linear_model import LogisticRegression

        # Numbers instead of names: mteb computes a precision that sklearn refuses for two text labels.
        numbers = {label: number for number, label in enumerate(sorted({*self.train_labels, *self.labels}))}
        gold = [numbers[label] for label in self.labels]
        train = [numbers[label] for label in self.train_labels]

        task = bridge.build_task(
            AbsTaskClassification,
            self.category,
            self.metric,
            DatasetDict(
                train=Dataset.from_dict({"text": list(self.train_texts), "label": train}),
                test=Dataset.from_dict({"text": list(self.items), "label": gold}),
            ),
            samples_per_label=self.samples_per_label,
            n_experiments=self.num_experiments,
            evaluator_model=LogisticRegression(max_iter=MAX_ITERATIONS),
            **drawn_samples(self.samples, np.asarray(gold)),
        )
        scores = bridge.run(task, bridge.MtebEncoder(encoder, self.prompts))
        correct = np.asarray(task.predictions) == np.asarray(gold)
        return self.record(scores[self.metric], values=correct.mean(axis=0).tolist(), gold=self.labels)


def known_samples_per_label(name: str) -> int:
    """Return MTEB's rows per label for a task of this name (with or without ``Classification``), or its default."""
    return SAMPLES_PER_LABEL.get(name, SAMPLES_PER_LABEL.get(f"{name}Classification", 8))


def draw_sample(labels: tuple[str, ...], size: int, order: list[int] | None) -> tuple[list[int], list[int]]:
    """Return the next order of the rows, and the first ``size`` rows of each label in that order."""
    order = list(range(len(labels))) if order is None else order
    np.random.RandomState(bridge.SEED).shuffle(order)
    counts: Counter[str] = Counter()
    sample = []
    for row in order:
        if counts[labels[row]] < size:
            counts[labels[row]] += 1
            sample.append(row)
    return order, sample
