"""InfoNCE over in-batch and hard negatives, from sentence-transformers."""

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
    """InfoNCE whose queries and documents go through the model together, where it reads no padding.

    One pass over all columns has fewer and larger products than one for each; on the embedded base a step takes three
    quarters of the time. A model that reads padding would pad queries to the length of documents: it keeps its passes.

    Law: loss and gradient are those of ``MultipleNegativesRankingLoss``, without dropout.
    """

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Return the loss of a batch; ``sentence_features`` are its columns, queries first; there are no labels."""
        columns = list(sentence_features)
        backbone = self.model[0]
        if not (isinstance(backbone, Backbone) and backbone.packs_on(columns[0]["input_ids"].device)):
            return super().forward(columns, labels)
        vectors = self.model(join_columns(columns))["sentence_embedding"]
        return self.compute_loss_from_embeddings(list(vectors.split([len(c["input_ids"]) for c in columns])), labels)


def join_columns(columns: Sequence[dict[str, Tensor]]) -> dict[str, Shaped[Tensor, "B T"]]:
    """Return the features of several batches as one, padded on the right to the longest; masks stay as they are."""
    width = max(column["input_ids"].shape[1] for column in columns)
    # All that preprocessing gives is one number a token, and 0 where there is none.
    padded = {n: [functional.pad(c[n], (0, width - c[n].shape[1])) for c in columns] for n in columns[0]}
    return {name: torch.cat(parts) for name, parts in padded.items()}


def build_loss(
    model: SentenceTransformer, config: TrainConfig
) -> MultipleNegativesRankingLoss | CachedMultipleNegativesRankingLoss:
    """Return InfoNCE over cosine / temperature; with GradCache where the batch exceeds one mini-batch.

    Law: both give the same gradient; GradCache takes one forward more and the memory of one mini-batch.
    """
    scale = 1 / config.temperature
    if config.batch_size <= config.mini_batch_size:
        return JointRankingLoss(model, scale=scale)
    return CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=config.mini_batch_size)
