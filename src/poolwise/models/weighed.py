"""The weights of a text's tokens and layers, and the characters of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from poolwise.models.pooling.base import WeightsKind

Role = Literal["start", "prompt", "text", "repetition", "landmark", "end", "trained"]
"""BOS, the prompt, the text, its second occurrence in an echo, a landmark inside the text, EOS, and the trained tokens
of ``soft_tokens``."""


@dataclass(frozen=True)
class WeighedToken:
    """A token as it is read, and the weight of its state.

    Args:
        text: its characters, with those before it that no token has, such as spaces; empty for a later part of a
            character that several tokens share. A special token is shown by its name.
    """

    text: str
    role: Role
    weight: float


@dataclass(frozen=True)
class PoolingWeights:
    """What the embedding of a text takes from each token and layer.

    Args:
        tokens: all tokens that the model reads; their weights sum to 1.
        token_kind: "exact", the embedding is the weighted sum of the states (up to normalisation and a projection);
            "attention", averaged over heads and queries; or "measured", how far the embedding moves without the token.
        layers: of layers 1 .. L, they sum to 1; empty if the design pools the last layer only. The tokens of every
            layer have the weights of ``tokens``.
        layer_kind: as ``token_kind``; None without ``layers``.
        is_truncated: the text was longer than what the model reads.
    """

    tokens: tuple[WeighedToken, ...]
    token_kind: WeightsKind
    layers: tuple[float, ...]
    layer_kind: WeightsKind | None
    is_truncated: bool


def characters(tokenizer: Any, joined: str) -> tuple[list[str], list[int]]:
    """Return the characters of each id of a text without special tokens, and where they end in the text."""
    if not tokenizer.is_fast:
        ids = tokenizer(joined, add_special_tokens=False, verbose=False)["input_ids"]
        shown = [str(tokenizer.decode([one])) for one in ids]
        return shown, list(accumulate(map(len, shown)))
    found = tokenizer(joined, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    shown, ends, reached = [], [], 0
    for _, end in found["offset_mapping"]:
        shown.append(joined[reached:end])
        reached = max(reached, end)
        ends.append(reached)
    return shown, ends
