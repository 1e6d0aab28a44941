"""InfoNCE over in-batch and hard negatives, from sentence-transformers."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)

from poolwise.config import TrainConfig


def build_loss(
    model: SentenceTransformer, config: TrainConfig
) -> MultipleNegativesRankingLoss | CachedMultipleNegativesRankingLoss:
    """Return InfoNCE over cosine / temperature; with GradCache where the batch exceeds one mini-batch.

    Law: both give the same gradient; GradCache takes one forward more and the memory of one mini-batch.
    """
    scale = 1 / config.temperature
    if config.batch_size <= config.mini_batch_size:
        return MultipleNegativesRankingLoss(model, scale=scale)
    return CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=config.mini_batch_size)
