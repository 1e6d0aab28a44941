"""How much an embedding takes from each token, measured: how far it moves when the token's state is left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from poolwise.kernels.reduction import reduction_weights, widen

Pool = Callable[[Float[Tensor, "B T D"], Bool[Tensor, "B T"]], Float[Tensor, "B W"]]
MOST_NUMBERS = 1 << 24
"""Numbers in the states of one batch, 64 MiB in fp32."""


def occlusion_weights(pool: Pool, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return the distance by which each text's unit embedding moves when a token is left out, scaled to sum to 1.

    Only the pooling is repeated: the other tokens' states still know of the token that is left out.

    Args:
        pool: returns the embeddings of states (B T D) whose masked tokens do not count.
    """

    def leave_out(text: int, places: Tensor) -> tuple[Tensor, Tensor]:
        return _each_left_out(pool, states[text, places])

    return weights_of_moves(mask, leave_out)


def weights_of_moves(
    mask: Bool[Tensor, "B T"], leave_out: Callable[[int, Tensor], tuple[Tensor, Tensor]]
) -> Float[Tensor, "B T"]:
    """Return how far unit embeddings move, scaled to sum to 1 in each text.

    Tokens weigh the same where nothing moves, and the only token of a text has weight 1.

    Args:
        leave_out: returns, for a text and the places of its tokens (N), its embedding (1 W), and its embeddings without
            each of the tokens (N W).
    """
    weights = reduction_weights(mask, "mean")
    for text in range(len(mask)):
        places = mask[text].nonzero()[:, 0]
        if len(places) < 2:
            continue
        whole, without = leave_out(text, places)
        moved = (_unit(without) - _unit(whole)).norm(dim=1)
        if (total := moved.sum()) > 0:
            weights[text, places] = (moved / total).to(weights.dtype)
    return weights


def _each_left_out(pool: Pool, states: Float[Tensor, "N D"]) -> tuple[Tensor, Tensor]:
    num_tokens, dim = states.shape
    whole = pool(states[None], torch.ones(1, num_tokens, dtype=torch.bool, device=states.device))
    kept = ~torch.eye(num_tokens, dtype=torch.bool, device=states.device)
    size = max(1, MOST_NUMBERS // (num_tokens * dim))
    parts = [pool(states.expand(len(rows), -1, -1), rows) for rows in kept.split(size)]
    return whole, torch.cat(parts)


def _unit(vectors: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
    return functional.normalize(widen(vectors), dim=1)
