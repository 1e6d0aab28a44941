"""Reductions of token states (B T D) to one vector per text (B D); they depend on the mask, not on the padding side.

Shapes in this package: B texts, T tokens, L layers, S selected layers, N keys, D hidden, K latents, H heads, E head
width. Masked positions are removed with ``where`` and never multiplied by zero: 0 * NaN is NaN.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from poolwise.layer_subsets import LayerSubset


def widen(states: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return states in fp32, or unchanged if fp64: sums over tokens, layers and latents need full precision."""
    return states if states.dtype == torch.float64 else states.float()


def last_token(hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Return the state of each text's last unmasked token, in fp32.

    Law: adding padding columns on either side changes nothing.
    Source: arXiv:2409.02727, "EOS-last token pooling", without its reliance on left padding.
    """
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, positions, -1).amax(dim=1)
    return widen(hidden[torch.arange(mask.shape[0], device=mask.device), last])


def mean_tokens(hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Return the mean state of each text's unmasked tokens, in fp32.

    Law: adding padding columns on either side changes nothing.
    """
    kept = torch.where(mask[:, :, None], widen(hidden), 0.0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def without_first(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Return the mask without each text's first unmasked token; a text's only token is kept.

    Law: at least one token of every text is left.
    """
    return mask & ((mask.cumsum(dim=1) > 1) | (mask.sum(dim=1, keepdim=True) == 1))


def landmarks(mask: Bool[Tensor, "B T"], num_before: Int[Tensor, " B"], every: int) -> Bool[Tensor, "B T"]:
    """Return which tokens are landmarks: one after every N tokens of each text, and its last token.

    They are found by their places, not by their ids, because a text may contain the same id.

    Args:
        num_before: how many first tokens of each text are not part of its chunks: BOS and the prompt.
        every: N, the number of tokens from one landmark to the next.
    Law: at least one token of every text is a landmark.
    """
    place = mask.cumsum(dim=1) - num_before[:, None]  # counted from 1
    is_last = mask.cumsum(dim=1) == mask.sum(dim=1, keepdim=True)
    return mask & (((place > 0) & (place % (every + 1) == 0)) | is_last)


def mean_rows(rows: Float[Tensor, "N D"], counts: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """Return the mean of each of B consecutive groups of rows; ``counts`` gives their sizes.

    Segments are summed, without products with zeros, so a NaN stays in its text. Unlike index_add, the result is
    deterministic on CUDA. There the counts are not checked, because the check would wait for the device.
    """
    sums = torch.segment_reduce(rows.contiguous(), "sum", lengths=counts, axis=0, unsafe=rows.is_cuda)
    return sums / counts[:, None]


def weighted_mean_tokens(hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Return the mean state of each text's unmasked tokens with weights 1, 2, 3 ..., in fp32.

    Law: adding padding columns on either side changes nothing.
    Source: SGPT, arXiv:2202.08904, equation 2; positions are counted among the pooled tokens.
    """
    weights = torch.where(mask, mask.cumsum(dim=1), 0).to(widen(hidden).dtype)
    kept = torch.where(mask[:, :, None], widen(hidden), 0.0)
    return torch.einsum("bt,btd->bd", weights, kept) / weights.sum(dim=1, keepdim=True)


def reduce_tokens(hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], tokens: str) -> Float[Tensor, "B D"]:
    """Return one state per text: that of its last token, or the mean over its tokens.

    Args:
        tokens: "last" or "mean".
    """
    return last_token(hidden, mask) if tokens == "last" else mean_tokens(hidden, mask)


def reduction_weights(mask: Bool[Tensor, "B T"], tokens: str) -> Float[Tensor, "B T"]:
    """Return the weight of each token in the reduction ``tokens``, in fp32: 0 at masked tokens, and rows sum to 1.

    Args:
        tokens: "last", "mean" or "weighted_mean".
    Law: the states, weighted so and summed, are ``last_token``, ``mean_tokens`` or ``weighted_mean_tokens``.
    """
    positions = torch.where(mask, mask.cumsum(dim=1), 0)
    if tokens == "weighted_mean":
        return positions / positions.sum(dim=1, keepdim=True)
    kept = mask if tokens == "mean" else mask & (positions == positions.amax(dim=1, keepdim=True))
    return kept / kept.sum(dim=1, keepdim=True)


def normalise(states: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    """Return states with mean 0 and variance 1 along D.

    The norms of layers differ by factors of about 40 (5.65 and 0.15 in a test). Without normalisation, one layer would
    dominate every sum over layers.
    """
    return functional.layer_norm(states, states.shape[-1:])


def select_layers(states: Float[Tensor, "B L D"], subset: str) -> Float[Tensor, "B S D"]:
    """Return the states of a subset of the layers 1 .. L, in order.

    Args:
        subset: in the notation of ``LayerSubset``.
    Raises: ConfigError if it names a layer beyond L.
    """
    if subset == "all":
        return states
    return states[:, [number - 1 for number in LayerSubset(subset).numbers(states.shape[1])]]
