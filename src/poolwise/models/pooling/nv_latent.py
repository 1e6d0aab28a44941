"""``nv_latent``: tokens attend to trained latents, as in NV-Embed; the reverse of ``latent``.

With the tokens X (N D) of a text, latents Z (K D) and X0 = X normalised to mean 0 and variance 1 along D:

    Q = norm(X0) Wq;  [K, V] = norm(Z) Wkv;  A = softmax(Q K^T / sqrt(E));  O = concat(A V) Wo
    X1 = X0 + O;  X2 = X1 + FF(norm(X1)), FF with GEGLU;  e = mean over the text's tokens of X2

Keys and values depend only on parameters. Two exact rewritings; a parity test compares them with the equations:
- Q K^T = norm(X0) (K Wq^T)^T and (A V) Wo = A (V Wo), both once per step, if that needs fewer multiplications.
- The mean over tokens commutes with the second matrix of FF, which is then applied to one vector per text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from poolwise.design import Design
from poolwise.kernels.reduction import mean_rows, mean_tokens, normalise, widen
from poolwise.models.pooling.base import Pooling
from poolwise.models.pooling.cross_attention import SMALL_STD, HeadSize, LatentHead, Start, head_size
from poolwise.models.pooling.occlusion import weights_of_moves


class LatentMemory(LatentHead):
    """Every token of a text attends to the latents; then the tokens are averaged.

    Args:
        init: "mean" starts as the mean of the normalised tokens: output and FF are zero, latents are small. "random"
            takes torch's defaults and latents from N(0, 1).
    """

    def __init__(self, dim: int, size: HeadSize, init: Start) -> None:
        super().__init__(dim, size)
        if init == "mean":
            self.latents.data.mul_(SMALL_STD)
            for weight in (self.to_out.weight, self.ff_out.weight, self.ff_out.bias):
                nn.init.zeros_(weight)

    def folds(self, num_tokens: int | torch.SymInt) -> bool:
        """Return whether K Wq^T and V Wo need fewer multiplications than Q and averaging first."""
        if isinstance(num_tokens, torch.SymInt):  # not known while a graph is exported
            return False
        dim, latents, width = self.dim, self.size.latents, self.size.head_dim
        return dim * latents * (num_tokens + width) < num_tokens * width * (dim + latents)

    def _looked_up(self, tokens: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        latents = self.norm_latents(self.latents)
        key, value = self._project(latents, self.to_key), self._project(latents, self.to_value)
        if not self.folds(tokens.shape[0]):
            weights = self._weights(torch.einsum("hne,hke->nhk", self._project(tokens, self.to_query), key))
            return self.to_out(torch.einsum("nhk,hke->nhe", weights, value).flatten(-2))
        weights = self._weights(torch.einsum("nd,hkd->nhk", tokens, self._folded_query(key)))
        return torch.einsum("nhk,hkd->nd", weights, self._folded_output(value))

    def _weights(self, scores: Float[Tensor, "N H K"]) -> Float[Tensor, "N H K"]:
        return (widen(scores) / self.size.head_dim**0.5).softmax(dim=-1)

    def forward(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Return the mean over each text's unmasked tokens after they attended to the latents, in fp32."""
        rows, mean = _rows(states, mask)
        tokens, hidden = self._of_tokens(rows)
        return mean(tokens) + widen(self.ff_out(mean(hidden)))

    def left_out(self, rows: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "1 D"], Float[Tensor, "N D"]]:
        """Return the vector of a text with these tokens, and its vectors without each of them, which are two or more.

        Each token is read once, since they meet only in the mean.
        """
        tokens, hidden = self._of_tokens(rows)

        def others(values: Tensor) -> Tensor:
            return (values.sum(dim=0) - values) / (len(values) - 1)

        whole = tokens.mean(dim=0) + widen(self.ff_out(hidden.mean(dim=0)))
        return whole[None], others(tokens) + widen(self.ff_out(others(hidden)))

    def _of_tokens(self, rows: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N F"]]:
        """Return tokens after they attended to the latents, and the hidden layer of FF."""
        tokens = normalise(widen(rows))
        tokens = tokens + widen(self._looked_up(self.norm_states(tokens)))
        inner, gate = self.ff_in(self.norm_ff(tokens)).chunk(2, dim=-1)
        return tokens, widen(inner * functional.gelu(gate))


def _rows(states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the unmasked tokens of all texts, and a function that returns the mean over each text's rows.

    While a graph is exported, the rows are all tokens, masked ones zero: the number of rows must depend on shapes only.
    """
    if torch.compiler.is_exporting():
        padded = torch.where(mask[:, :, None], states, 0.0).flatten(0, 1)
        return padded, lambda rows: mean_tokens(rows.unflatten(0, mask.shape), mask)
    # Masked positions are dropped here, NaN or not.
    return states[mask], partial(mean_rows, counts=mask.sum(dim=1))


class NvLatentPooling(Pooling):
    """Latent attention with tokens as queries, then the mean over tokens.

    Source: NV-Embed, arXiv:2405.17428, section 3.1. The paper uses one array of latents as both keys and values, an MLP
    with GELU and a mean. Here keys and values are projections of the latents, residuals and GEGLU are as in the other
    heads, and states are normalised first, so that untrained heads are comparable. Sizes are those of ``latent``.
    """

    config_keys = ("dim", "latents", "heads", "head_dim", "init")

    def __init__(self, dim: int, latents: int, heads: int, head_dim: int, init: Start = "mean") -> None:
        super().__init__(dim)
        self.latents, self.heads, self.head_dim, self.init = latents, heads, head_dim, init
        self.head = LatentMemory(dim, HeadSize(latents, heads, head_dim), init)

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> NvLatentPooling:
        """Return the pooling with the head size of the design."""
        size = head_size(design, dim)
        init: Any = design.option("init")
        return cls(dim, size.latents, size.heads, size.head_dim, init)

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return how far the embedding moves without each token."""
        states, projection = features["token_embeddings"], self.projection

        def leave_out(text: int, places: Tensor) -> tuple[Tensor, Tensor]:
            whole, without = self.head.left_out(states[text, places])
            return (whole, without) if projection is None else (projection(whole), projection(without))

        return weights_of_moves(features["pooling_mask"].bool(), leave_out)

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B D"]:
        """Return the mean of the tokens after they attended to the latents."""
        return self.head(features["token_embeddings"], features["pooling_mask"])
