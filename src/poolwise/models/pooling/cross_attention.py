"""Cross-attention from trained latents to states: the head of ``latent`` and ``multilayer``.

With latents Z (K D) and states X (N D), in the paper's notation:

    Q = norm(Z) Wq;  [K, V] = norm(X) Wkv;  A = softmax(Q K^T / sqrt(E));  O = concat(A V) Wo
    Z1 = Z + O;  Z2 = Z1 + FF(norm(Z1)), FF with GEGLU;  e = mean over latents of Z2

Four exact rewritings save most of the work; a parity test compares value and gradient with the plain equations:
- Q depends only on parameters: it is computed once per step, not once per text.
- Q K^T = norm(Z) (K Wq^T)^T: if a batch has fewer keys than latents, Wq is applied to the keys.
- Wo commutes with the average over keys: with fewer keys than latents, V Wo is computed first.
- The mean over latents commutes with the second matrix of FF, which is then applied to one vector per text.

Source: arXiv:2409.02727, section 3; the latents are the queries, the reverse of NV-Embed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from poolwise.design import Design
from poolwise.kernels.gated_mean import gated_mean
from poolwise.kernels.headwise import headwise
from poolwise.kernels.reduction import widen

Start = Literal["mean", "random"]
SMALL_STD = 0.02


@dataclass(frozen=True)
class HeadSize:
    """The number of latents (K) and heads (H), and the width of a head (E)."""

    latents: int
    heads: int
    head_dim: int

    @property
    def inner(self) -> int:
        """The width of all heads together."""
        return self.heads * self.head_dim


PAPER_SIZE = HeadSize(latents=768, heads=32, head_dim=2048)


def head_size(design: Design, dim: int) -> HeadSize:
    """Return the head size of a design for hidden size ``dim``, by default in the paper's proportions.

    The default equals the paper's size at its hidden size, 4096. Sizes given in the design take precedence.
    """
    auto = HeadSize(latents=max(16, 3 * dim // 16), heads=max(4, dim // 128), head_dim=max(1, dim // 2))
    sizes = asdict(PAPER_SIZE if design.option("size") == "paper" else auto)
    return HeadSize(**{name: int(design.option(name) or size) for name, size in sizes.items()})


class LatentHead(nn.Module):
    """The parameters of attention between states and trained latents, whichever of them are the queries.

    Args:
        size: size of the attention; there are K latents of width D.
    """

    def __init__(self, dim: int, size: HeadSize) -> None:
        super().__init__()
        self.dim, self.size = dim, size
        self.latents = nn.Parameter(torch.randn(size.latents, dim))
        self.norm_latents = nn.LayerNorm(dim)
        self.norm_states = nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, size.inner, bias=False)
        self.to_key = nn.Linear(dim, size.inner, bias=False)
        self.to_value = nn.Linear(dim, size.inner, bias=False)
        self.to_out = nn.Linear(size.inner, dim, bias=False)
        self.norm_ff = nn.LayerNorm(dim)
        self.ff_in = nn.Linear(dim, 8 * dim)
        self.ff_out = nn.Linear(4 * dim, dim)

    def _project(self, states: Float[Tensor, "N D"], linear: nn.Linear) -> Float[Tensor, "H N E"]:
        """Return the projected states of each head."""
        return headwise(states, self._by_heads(linear).transpose(1, 2))

    def _folded_query(self, keys: Float[Tensor, "H N E"]) -> Float[Tensor, "H N D"]:
        """Return K Wq^T for each head."""
        return headwise(keys, self._by_heads(self.to_query))

    def _folded_output(self, values: Float[Tensor, "H N E"]) -> Float[Tensor, "H N D"]:
        """Return V Wo for each head."""
        return headwise(values, self.to_out.weight.unflatten(1, (self.size.heads, -1)).permute(1, 2, 0))

    def _by_heads(self, linear: nn.Linear) -> Float[Tensor, "H E D"]:
        return linear.weight.unflatten(0, (self.size.heads, self.size.head_dim))


class CrossAttention(LatentHead):
    """Latents attend to the states of a text and are averaged.

    Args:
        init: "mean" starts as the mean of the normalised states: value and output projections together are the
            identity, FF is zero, latents are small. "random" is the paper's: torch's defaults and latents from N(0, 1).
    """

    def __init__(self, dim: int, size: HeadSize, init: Start) -> None:
        super().__init__(dim, size)
        if init == "mean":
            self._start_as_mean()

    @torch.no_grad()
    def _start_as_mean(self) -> None:
        """Initialise so that to_out(to_value(x)) = x exactly: each hidden dimension gets a share of the inner width.

        If the inner width is below D, the dimensions beyond it start at zero.
        """
        inner = torch.arange(self.size.inner, device=self.latents.device)
        hidden = inner % self.dim
        copies = torch.zeros(self.dim, device=inner.device).index_add(0, hidden, torch.ones_like(inner).float())
        share = copies[hidden].rsqrt()
        self.to_value.weight.zero_()[inner, hidden] = share
        self.to_out.weight.zero_()[hidden, inner] = share
        self.latents.mul_(SMALL_STD)
        self.ff_out.weight.zero_()
        self.ff_out.bias.zero_()

    def attention(self, keys: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B H K N"]:
        """Return the attention weight of each latent, in each head, for each normalised state; 0 at masked states."""
        scaled = widen(self._scores(self.norm_latents(self.latents), self._of_texts(keys, self.to_key)))
        scaled = scaled / self.size.head_dim**0.5
        return scaled.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1)

    def _of_texts(self, states: Float[Tensor, "B N D"], linear: nn.Linear) -> Float[Tensor, "H B N E"]:
        return self._project(states.flatten(0, 1), linear).unflatten(1, states.shape[:2])

    def _scores(self, latents: Float[Tensor, "K D"], keys: Float[Tensor, "H B N E"]) -> Float[Tensor, "B H K N"]:
        if not self.folds_query(keys.shape[1] * keys.shape[2]):
            return torch.einsum("hke,hbne->bhkn", self._project(latents, self.to_query), keys)
        folded = self._folded_query(keys.flatten(1, 2)).unflatten(1, keys.shape[1:3])
        return torch.einsum("kd,hbnd->bhkn", latents, folded)

    def folds_query(self, num_keys: int | torch.SymInt) -> bool:
        """Return whether K Wq^T needs fewer multiplications than Q, with ``num_keys`` keys in the whole batch."""
        return self._folding_pays(num_keys)

    def _folding_pays(self, num_keys: int | torch.SymInt) -> bool:
        if isinstance(num_keys, torch.SymInt):  # not known while a graph is exported
            return False
        # Each head is a product of three matrices, (keys x E)(E x D)(D x latents), from the left or from the right.
        dim, latents, width = self.dim, self.size.latents, self.size.head_dim
        return num_keys * dim * (width + latents) < latents * width * (num_keys + dim)

    def keys(self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """Return the normalised states, with masked positions set to zero first."""
        return self.norm_states(torch.where(mask[:, :, None], widen(states), 0.0))

    def folds_output(self, num_keys: int | torch.SymInt) -> bool:
        """Return whether V Wo needs fewer multiplications than averaging first, with ``num_keys`` keys per text."""
        return self._folding_pays(num_keys)

    def _collect(self, weights: Float[Tensor, "B H K N"], values: Float[Tensor, "H B N E"]) -> Float[Tensor, "B K D"]:
        if not self.folds_output(values.shape[2]):
            return self.to_out(torch.einsum("bhkn,hbne->bkhe", weights, values).flatten(-2))
        folded = self._folded_output(values.flatten(1, 2)).unflatten(1, values.shape[1:3])
        return torch.einsum("bhkn,hbnd->bkd", weights, folded)

    def forward(self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        """Return the mean over latents after they attended to the unmasked states, in fp32."""
        keys = self.keys(states, mask)
        collected = self._collect(self.attention(keys, mask), self._of_texts(keys, self.to_value))
        latents = self.latents + widen(collected)
        hidden = gated_mean(self.norm_ff(latents), self.ff_in.weight, self.ff_in.bias)
        return latents.mean(dim=1) + widen(self.ff_out(hidden))
