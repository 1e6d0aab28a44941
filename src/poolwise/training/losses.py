"""The training loss: sentence-transformers' InfoNCE over in-batch and hard negatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Shaped
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor
from torch.nn import functional

from poolwise.config import TrainConfig
from poolwise.models import Backbone


class JointRankingLoss(MultipleNegativesRankingLoss):
    """InfoNCE with one forward pass for queries and documents together, if the model reads packed batches.

    One pass for all columns has fewer and larger products than one pass per column; on the embedded base a step takes
    three quarters of the time. Models that read padding keep separate passes, because queries would be padded to the
    length of documents.

    Law: without dropout, loss and gradient are those of ``MultipleNegativesRankingLoss``.
    """

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Return the loss of a batch; ``sentence_features`` are its columns, queries first; labels are not used."""
        columns = list(sentence_features)
        backbone = self.model[0]
        if not (isinstance(backbone, Backbone) and backbone.packs_on(columns[0]["input_ids"].device)):
            return super().forward(columns, labels)
        vectors = self.model(join_columns(columns))["sentence_embedding"]
        return self.compute_loss_from_embeddings(list(vectors.split([len(c["input_ids"]) for c in columns])), labels)


def join_columns(columns: Sequence[dict[str, Tensor]]) -> dict[str, Shaped[Tensor, "B T"]]:
    """Return the features of several batches as one batch, padded on the right to the longest."""
    width = max(column["input_ids"].shape[1] for column in columns)
    # Every feature from preprocessing has one number per token, and padding is 0.
    padded = {n: [functional.pad(c[n], (0, width - c[n].shape[1])) for c in columns] for n in columns[0]}
    return {name: torch.cat(parts) for name, parts in padded.items()}


def build_loss(
    model: SentenceTransformer, config: TrainConfig
) -> MultipleNegativesRankingLoss | CachedMultipleNegativesRankingLoss:
    """Return InfoNCE over cosine / temperature, with GradCache if the batch is larger than a mini-batch.

    Law: both give the same gradient. GradCache needs one more forward, but only the memory of one mini-batch.
    """
    scale = 1 / config.temperature
    if config.batch_size <= config.mini_batch_size:
        return JointRankingLoss(model, scale=scale)
    return CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=config.mini_batch_size)
