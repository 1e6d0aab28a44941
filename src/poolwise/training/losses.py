"""The training loss: sentence-transformers' InfoNCE over in-batch and hard negatives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Shaped
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn
from torch.nn import functional

from poolwise.config import TrainConfig, too_wide
from poolwise.errors import ConfigError
from poolwise.models import Backbone
from poolwise.ranks import current_ranks, exchange
from poolwise.training.exchange import gather_rows
from poolwise.training.shards import is_sharded


class JointRankingLoss(MultipleNegativesRankingLoss):
    """InfoNCE with one forward pass for queries and documents together, if the model reads packed batches.

    One pass for all columns has fewer and larger products than one pass per column; on the embedded base a step takes
    three quarters of the time. Models that read padding keep separate passes, because queries would be padded to the
    length of documents.

    Law: without dropout, loss and gradient are those of ``MultipleNegativesRankingLoss``. If several ranks share the
    batch, the loss is that of the whole batch, and the gradient of a weight is the sum over ranks.
    """

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Return the loss of a batch; ``sentence_features`` are its columns, queries first; labels are not used."""
        columns = list(sentence_features)
        backbone = self.model[0]
        if not (isinstance(backbone, Backbone) and backbone.packs_on(columns[0]["input_ids"].device)):
            return super().forward(columns, labels)
        vectors = self.model(join_columns(columns))["sentence_embedding"]
        return self.compute_loss_from_embeddings(list(vectors.split([len(c["input_ids"]) for c in columns])), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Return the loss of the embeddings of all ranks, one (B D) for each column."""
        loss: Tensor = super().compute_loss_from_embeddings([gather_rows(rows) for rows in embeddings], labels)
        return loss


class CachedRankingLoss(CachedMultipleNegativesRankingLoss):
    """The same loss by GradCache: a batch in mini-batches, each rank its own part.

    The ranks of a sharded model must read equally many mini-batches, because they gather its layers together. A rank
    with a row less reads its last row twice, and the second embedding is dropped.
    """

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Return the loss of a batch; arguments as in ``JointRankingLoss``."""
        columns = list(sentence_features)
        self.num_rows = len(columns[0]["input_ids"])
        if is_sharded(self.model):
            most = max(count for (count,) in exchange([self.num_rows]))
            columns = [with_rows(column, most) for column in columns]
        loss: Tensor = super().forward(columns, labels)
        return loss

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the loss of the embeddings of all ranks, given by column and mini-batch."""
        gathered = [[gather_rows(torch.cat(column)[: self.num_rows])] for column in reps]
        loss: Tensor = super().calculate_loss(gathered, labels, with_backward=with_backward)
        return loss


def join_columns(columns: Sequence[dict[str, Tensor]]) -> dict[str, Shaped[Tensor, "B T"]]:
    """Return the features of several batches as one batch, padded on the right to the longest."""
    width = max(column["input_ids"].shape[1] for column in columns)
    # Every feature from preprocessing has one number per token, and padding is 0.
    padded = {n: [functional.pad(c[n], (0, width - c[n].shape[1])) for c in columns] for n in columns[0]}
    return {name: torch.cat(parts) for name, parts in padded.items()}


def with_rows(column: dict[str, Tensor], count: int) -> dict[str, Shaped[Tensor, "B T"]]:
    """Return the features of a batch with ``count`` rows, of which the ones after the last are equal to it."""
    places = torch.arange(count).clamp(max=len(column["input_ids"]) - 1)
    return {name: values[places.to(values.device)] for name, values in column.items()}


class NestedLoss(MatryoshkaLoss):
    """The mean of a loss over several numbers of leading dimensions, each normalised again.

    Source: arXiv:2205.13147, as sentence-transformers' ``MatryoshkaLoss``, which returns the sum. With the mean,
    losses, gradient norms and learning rates are comparable with those of a training at full width only.

    Law: with the full width alone it is the loss itself.
    """

    def __init__(self, model: SentenceTransformer, loss: nn.Module, dimensions: Sequence[int]) -> None:
        super().__init__(model, loss, list(dimensions), [1 / len(dimensions)] * len(dimensions))

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        """Return the loss of a batch; arguments as in ``JointRankingLoss``."""
        try:
            return super().forward(list(sentence_features), labels)
        finally:
            # It leaves its replacement of ``forward`` on the model, which then could not use the fast encoder.
            self.model.__dict__.pop("forward", None)


def nested_dimensions(config: TrainConfig, width: int) -> tuple[int, ...]:
    """Return the dimensions that a training with ``config`` applies the loss to, ascending; empty for the width only.

    Raises: ConfigError if one is above the width of the embeddings.
    """
    if not config.matryoshka:
        return ()
    if problem := too_wide(config, width):
        raise ConfigError(problem)
    return tuple(sorted({*config.matryoshka, width}))


def build_loss(model: SentenceTransformer, config: TrainConfig) -> nn.Module:
    """Return InfoNCE over cosine / temperature, with GradCache if a rank's batch is larger than a mini-batch.

    With ``matryoshka`` it is the mean over the dimensions, with or without GradCache.

    Law: both give the same gradient. GradCache needs one more forward, but only the memory of one mini-batch.
    """
    scale = 1 / config.temperature
    loss: nn.Module = (
        JointRankingLoss(model, scale=scale)
        if math.ceil(config.batch_size / current_ranks().size) <= config.mini_batch_size
        else CachedRankingLoss(model, scale=scale, mini_batch_size=config.mini_batch_size)
    )
    dimensions = nested_dimensions(config, model.get_embedding_dimension() or 0)
    return NestedLoss(model, loss, dimensions) if dimensions else loss
