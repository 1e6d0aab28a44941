"""``pma``: trained queries attend to the tokens of the last layer (pooling by multihead attention).

With the queries S (K W), H heads, and X (T D) = a text's tokens, each normalised to mean 0 and variance 1:

    Q = S Wq;  A = softmax(Q (X Wk)^T / sqrt(W / H)), by head;  O = norm(S + concat A (X Wv))
    e = mean over queries of norm(O + relu(O Wo + b))

Two exact rewritings save most of the work, because K H is far below the width of the base; a parity test compares value
and gradient with the equations:
- Q (X Wk)^T = (Q Wk^T) X^T: the first product depends only on parameters and is computed once per step.
- A (X Wv) = (A X) Wv: Wv is applied to K vectors per head and text instead of T.

Source: Set Transformer, arXiv:1810.00825, section 3.2; as a pooling of LLMs with an output width of its own C2LLM,
arXiv:2512.21332. Widths, norms and the unprojected S in the residual are those of code that its group published with
an earlier model (codefuse-ai/CodeFuse-CGE, ``post_normal``). We normalise the tokens first, as the other heads do; we
scale by the width of a head instead of W; Wq, Wk and Wv have no bias. With K > 1 the outputs are averaged.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from poolwise.design import Design
from poolwise.kernels.headwise import headwise
from poolwise.kernels.reduction import normalise, widen
from poolwise.models.pooling.base import Pooling, WeightsKind, start_as_isometry
from poolwise.models.pooling.cross_attention import SMALL_STD, Start


class QueryAttention(nn.Module):
    """Queries attend to the tokens of a text and are averaged.

    Args:
        width: W, the width of queries and output.
        init: "mean" starts as about the normalised mean of the tokens: queries and Wo are small, Wv keeps distances.
            "random" is Glorot's start for everything.
    """

    def __init__(self, dim: int, width: int, queries: int, heads: int, init: Start) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(dim, width, bias=False)
        self.to_value = nn.Linear(dim, width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.norm_attended = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        linears = (self.to_query, self.to_key, self.to_value, self.to_out)
        for weight in (self.queries, *(linear.weight for linear in linears)):
            nn.init.xavier_uniform_(weight)
        if init == "mean":
            start_as_isometry(self.to_value.weight)
            nn.init.normal_(self.queries, std=SMALL_STD)
            # Not zero: relu has no gradient there.
            self.to_out.weight.data.mul_(SMALL_STD)
            nn.init.zeros_(self.to_out.bias)

    def _by_heads(self, linear: nn.Linear) -> Float[Tensor, "H E D"]:
        return linear.weight.unflatten(0, (self.heads, self.head_dim))

    def _folded_queries(self) -> Float[Tensor, "H K D"]:
        """Return Q Wk^T for each head."""
        queries = self.to_query(self.queries).unflatten(1, (self.heads, self.head_dim)).transpose(0, 1)
        return headwise(queries, self._by_heads(self.to_key))

    def tokens(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Return the normalised states; masked ones are zero."""
        return normalise(torch.where(mask[:, :, None], widen(states), 0.0))

    def attention(self, tokens: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B H K T"]:
        """Return the attention weight of each query, in each head, for each of ``tokens``; 0 at masked ones."""
        scores = widen(torch.einsum("hkd,btd->bhkt", self._folded_queries(), tokens)) / self.head_dim**0.5
        return scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1)

    def forward(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B W"]:
        """Return the mean over queries after they attended to the unmasked tokens, in fp32."""
        tokens = self.tokens(states, mask)
        gathered = torch.einsum("bhkt,btd->hbkd", self.attention(tokens, mask), tokens)
        values = headwise(gathered.flatten(1, 2), self._by_heads(self.to_value).transpose(1, 2))
        attended = values.unflatten(1, gathered.shape[1:3]).permute(1, 2, 0, 3).flatten(-2)
        state = self.norm_attended(self.queries + widen(attended))
        return self.norm_out(state + widen(functional.relu(self.to_out(state)))).mean(dim=1)


class PmaPooling(Pooling):
    """Pooling by multihead attention with one or several trained queries.

    Args:
        width: W, the width of the embeddings: the option ``dim``, or that of the base.
        queries: number of queries.
        heads: number of heads; divides the width.
    """

    has_own_width = True
    config_keys = ("dim", "width", "queries", "heads", "init")

    def __init__(self, dim: int, width: int, queries: int, heads: int, init: Start = "mean") -> None:
        super().__init__(dim)
        self.width, self.queries, self.heads, self.init = width, queries, heads, init
        self.head = QueryAttention(dim, width, queries, heads, init)

    @classmethod
    def from_design(cls, design: Design, dim: int, num_layers: int) -> PmaPooling:
        """Return the pooling with the queries, heads and width of the design.

        Without ``heads=``, the number of heads is the largest one up to max(4, W/128) that divides W.
        Raises: ConfigError if ``heads`` does not divide the width.
        """
        design.require_width(dim)
        width = design.width or dim
        default = next(heads for heads in range(max(4, width // 128), 0, -1) if width % heads == 0)
        heads, queries, init = design.option("heads") or default, design.option("queries"), design.option("init")
        return cls(dim, width, int(queries or 1), int(heads), init)  # type: ignore[arg-type]

    def get_embedding_dimension(self) -> int:
        """Return W, the width of the vectors."""
        return self.width

    @property
    def weights_kind(self) -> WeightsKind:
        """Attention."""
        return "attention"

    def token_weights(self, features: dict[str, Any]) -> Float[Tensor, "B T"]:
        """Return the attention to each token, averaged over queries and heads."""
        mask = features["pooling_mask"].bool()
        return self.head.attention(self.head.tokens(features["token_embeddings"], mask), mask).mean(dim=(1, 2))

    def pool(self, features: dict[str, Any]) -> Float[Tensor, "B W"]:
        """Return the mean over queries after they attended to the tokens."""
        return self.head(features["token_embeddings"], features["pooling_mask"])
