"""Masked next-token prediction: masked texts, and the loss of predicting each token from the state before it.

Source: arXiv:2404.05961. Under bidirectional attention the token at position i is predicted from the state at i - 1, as
a decoder does in its own pretraining.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from poolwise.errors import DataError
from poolwise.models import Backbone, derive_seed
from poolwise.ranks import current_ranks
from poolwise.training.batches import WHOLE
from poolwise.training.exchange import sum_over_ranks

NO_TARGET = -1
_AT_ONCE = 1024


class MaskedTexts:
    """Turns row numbers into texts with masked tokens and their targets; each row is one draw of a text.

    The masked tokens of a draw depend only on its number, the seed and the text, not on the batch or a resume. All
    masked tokens become the mask token; none is kept or replaced by another token.

    Args:
        draws: the text index of each draw.
        mask_share: share of the maskable tokens to mask, rounded; at least one token.
    """

    def __init__(
        self,
        backbone: Backbone,
        texts: Sequence[str],
        draws: Sequence[int],
        *,
        mask_id: int,
        mask_share: float,
        seed: int,
    ) -> None:
        self.backbone, self.texts, self.draws = backbone, texts, draws
        self.mask_id, self.mask_share, self.seed = mask_id, mask_share, seed

    def __len__(self) -> int:
        """Return the number of draws."""
        return len(self.draws)

    def __call__(self, rows: Sequence[int], part: slice = WHOLE) -> dict[str, Any]:
        """Return the features of a part of these draws, and the original ids of masked tokens as ``text_targets``."""
        rows = rows[part]
        features = self.backbone.preprocess([self.texts[self.draws[row]] for row in rows])
        ids, targets = features["input_ids"], torch.full_like(features["input_ids"], NO_TARGET)
        for place, row in enumerate(rows):
            # A row is padded on one side, so its tokens are in the order that the tokenizer returned.
            columns = features["attention_mask"][place].nonzero()[:, 0]
            masked = columns[self.masked(ids[place, columns].tolist(), row)]
            targets[place, masked] = ids[place, masked]
            ids[place, masked] = self.mask_id
        return {f"text_{name}": value for name, value in features.items()} | {"text_targets": targets}

    def masked(self, ids: Sequence[int], row: int) -> Int[Tensor, " M"]:
        """Return the masked positions of a text in one draw, in order."""
        places = torch.tensor(maskable(ids, self.backbone.tokens.special_ids))
        count = max(1, round(self.mask_share * len(places)))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, f"mask {row}"))
        return places[torch.randperm(len(places), generator=generator)[:count]].sort().values

    def describe(self, rows: Sequence[int]) -> str:
        """Return the number of texts in a batch, and the beginning of the first."""
        return f"batch of {len(rows)} texts, the first {self.texts[self.draws[rows[0]]][:60]!r}"


def maskable(ids: Sequence[int], special: Container[int]) -> list[int]:
    """Return the positions that may be masked: ordinary tokens after the first, predicted from the state before."""
    return [place for place, token in enumerate(ids) if place > 0 and token not in special]


def draw_texts(backbone: Backbone, texts: Sequence[str], count: int, seed: int) -> list[int]:
    """Return ``count`` indices of texts from seeded shuffles; texts without a token to mask are left out.

    Raises: DataError if no text has a token that can be masked.
    """
    rng = np.random.default_rng(derive_seed(seed, "adaptation texts"))
    drawn: list[int] = []
    while len(drawn) < count:
        order, before = rng.permutation(len(texts)).tolist(), len(drawn)
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            rows, _ = backbone.tokens.encode([texts[i] for i in part], "", backbone.max_tokens)
            drawn += [i for i, ids in zip(part, rows, strict=True) if maskable(ids, backbone.tokens.special_ids)]
            if len(drawn) >= count:
                break
        if len(drawn) == before:
            raise DataError(
                f"none of {len(texts)} texts has a token to mask",
                "wanted texts of two tokens or more",
                "set adapt.data to other texts",
            )
    return drawn[:count]


class MaskedPrediction(nn.Module):
    """The mean cross-entropy of the masked tokens of a batch.

    Args:
        model: a backbone followed by an LM head.
        rows_at_once: the most rows that are read together. The backward pass reads each part again, so it needs the
            memory of one part. None reads all rows together, once.
    Law: loss and gradient do not depend on ``rows_at_once``, up to rounding.
    """

    def __init__(self, model: SentenceTransformer, rows_at_once: int | None = None) -> None:
        super().__init__()
        self.model, self.rows_at_once = model, rows_at_once

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, which has one column of texts; labels are not used."""
        (features,) = sentence_features
        count, num_rows = num_targets(features["targets"]), len(features["targets"])
        if self.rows_at_once is None or self.rows_at_once >= num_rows:
            loss = self._of_rows(features)
        else:
            parts = [
                {name: values[start : start + self.rows_at_once] for name, values in features.items()}
                for start in range(0, num_rows, self.rows_at_once)
            ]
            shares = [num_targets(part["targets"]) / count for part in parts]
            losses = [
                checkpoint(self._of_rows, part, use_reentrant=False) * share
                for part, share in zip(parts, shares, strict=True)
            ]
            loss = sum(losses[1:], start=losses[0])
        return loss if current_ranks().size == 1 else _shared(loss, count)

    def _of_rows(self, features: dict[str, Tensor]) -> Float[Tensor, ""]:
        states = self.model[0](features)["token_embeddings"]
        return prediction_loss(states, features["targets"], self.model[1])


def _shared(loss: Float[Tensor, ""], count: int) -> Float[Tensor, ""]:
    """Return the mean over the targets of all ranks, with the gradient of this rank's share; ``loss`` is its mean."""
    own = loss * (count / sum_over_ranks(count, loss.device))
    return own + (sum_over_ranks(float(own.detach()), loss.device) - own.detach())


def num_targets(targets: Int[Tensor, "B T"]) -> int:
    """Return the number of tokens that are predicted."""
    return int((targets[:, 1:] != NO_TARGET).sum())


def prediction_loss(states: Float[Tensor, "B T D"], targets: Int[Tensor, "B T"], head: nn.Module) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of ``targets``, each predicted from the state before it.

    Logits are computed only for those states.

    Args:
        targets: ids, with ``NO_TARGET`` at positions that are not predicted, such as the first of every text.
    """
    wanted = targets[:, 1:]
    chosen = wanted != NO_TARGET
    return functional.cross_entropy(head(states[:, :-1][chosen]), wanted[chosen])
