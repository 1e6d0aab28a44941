"""Masked next-token prediction: texts with some tokens masked, and the loss of predicting them from the left.

Source: arXiv:2404.05961. Under bidirectional attention the token at position i is predicted from the state at i - 1,
the one that a decoder has always predicted it from.
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

from poolwise.errors import DataError
from poolwise.models import Backbone, derive_seed

NO_TARGET = -1
_AT_ONCE = 1024


class MaskedTexts:
    """Turns numbers of draws into texts with masked tokens and the targets at their places.

    What is masked in a draw depends on its number, the seed and the text alone: neither on the batch it comes in nor
    on a resume. All masked tokens become the mask token; none is kept or exchanged for another.

    Args:
        draws: the text of each draw.
        mask_share: of the tokens that can be masked, rounded; at least one.
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
        """How many draws there are."""
        return len(self.draws)

    def __call__(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return the features of these draws and, under ``text_targets``, what stood at the masked places."""
        features = self.backbone.preprocess([self.texts[self.draws[row]] for row in rows])
        ids, targets = features["input_ids"], torch.full_like(features["input_ids"], NO_TARGET)
        for place, row in enumerate(rows):
            # A row is padded on one side: its tokens stand in the order the tokenizer gave them.
            columns = features["attention_mask"][place].nonzero()[:, 0]
            masked = columns[self.masked(ids[place, columns].tolist(), row)]
            targets[place, masked] = ids[place, masked]
            ids[place, masked] = self.mask_id
        return {f"text_{name}": value for name, value in features.items()} | {"text_targets": targets}

    def masked(self, ids: Sequence[int], row: int) -> Int[Tensor, " M"]:
        """Return the masked places of a text in one draw, in order."""
        places = torch.tensor(maskable(ids, self.backbone.tokens.special_ids))
        count = max(1, round(self.mask_share * len(places)))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, f"mask {row}"))
        return places[torch.randperm(len(places), generator=generator)[:count]].sort().values

    def describe(self, rows: Sequence[int]) -> str:
        """Return how many texts a batch has, and the beginning of its first."""
        return f"batch of {len(rows)} texts, the first {self.texts[self.draws[rows[0]]][:60]!r}"


def maskable(ids: Sequence[int], special: Container[int]) -> list[int]:
    """Return the places that may be masked: ordinary tokens with a token before them, whose state predicts them."""
    return [place for place, token in enumerate(ids) if place > 0 and token not in special]


def draw_texts(backbone: Backbone, texts: Sequence[str], count: int, seed: int) -> list[int]:
    """Return ``count`` numbers of texts, one seeded shuffle after the other; a text with nothing to mask is left out.

    Raises: DataError where no text has a token that can be masked.
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
                "wanted texts of two tokens and more",
                "give others as adapt.data",
            )
    return drawn[:count]


class MaskedPrediction(nn.Module):
    """The mean cross-entropy of the masked tokens of a batch.

    Args:
        model: a backbone and an LM head, one after the other.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, whose one column holds the texts; there are no labels."""
        (features,) = sentence_features
        states = self.model[0](features)["token_embeddings"]
        return prediction_loss(states, features["targets"], self.model[1])


def prediction_loss(states: Float[Tensor, "B T D"], targets: Int[Tensor, "B T"], head: nn.Module) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of ``targets`` given the states one place before each; logits of no other place.

    Args:
        targets: ids, ``NO_TARGET`` where nothing is to be predicted and at every text's first place.
    """
    wanted = targets[:, 1:]
    chosen = wanted != NO_TARGET
    return functional.cross_entropy(head(states[:, :-1][chosen]), wanted[chosen])
