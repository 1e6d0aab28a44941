"""Clustering tasks: k-means on the embeddings with ten seeds, scored by V-measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poolwise.records import ItemScores
from poolwise.tasks import bridge
from poolwise.tasks.labelled import LabelledTask
from poolwise.tasks.task import Encoder
from poolwise.upstream.mteb import cluster

KMEANS_SEEDS = tuple(range(bridge.SEED, bridge.SEED + 10))
"""The same ten for every model; the first is mteb's default."""


@dataclass(frozen=True, kw_only=True)
class ClusteringTask(LabelledTask):
    """Texts with labels. Items have no value; a record keeps the cluster of every row for every k-means seed.

    mteb's current clustering task embeds 4% of the rows and draws, with replacement, different rows for each
    model that shares the task object. We cluster all rows with mteb's k-means evaluator, one seed after the other.
    """

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "kmeans_seeds": list(KMEANS_SEEDS)}

    def content(self) -> object:
        return [self.items, self.labels]

    def texts(self) -> list[tuple[str, str]]:
        return [(self.prompts.query, text) for text in self.items]

    def problems(self) -> list[str]:
        if len(set(self.labels)) > 1:
            return []
        return [f"{self.name}: all rows have one label ({self.labels[0]!r}), wanted at least two"]

    def evaluate(self, encoder: Encoder) -> ItemScores:
        from sklearn.metrics import v_measure_score

        assignments = [self._cluster(encoder, seed) for seed in KMEANS_SEEDS]
        scores = [float(v_measure_score(self.labels, row)) for row in assignments]
        return self.record(float(np.mean(scores)), gold=self.labels, assignments=assignments, scores_by_seed=scores)

    def _cluster(self, encoder: Encoder, seed: int) -> list[int]:
        metadata = bridge.metadata(self.category, self.metric)
        adapted = bridge.MtebEncoder(encoder, self.prompts)
        return cluster(self.items, self.labels, adapted, metadata, bridge.SPLIT, bridge.SUBSET, seed)
