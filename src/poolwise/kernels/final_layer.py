"""A last decoder layer that computes only each text's last token, for poolings that read nothing else.

The other tokens' outputs of this layer are never read. Their keys and values are needed; their queries, output
projection and feed-forward part are not, which saves nine tenths of the layer's products. Reference implementation: the
original layer.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.kernels.fused import NUM_TRIAL_TEXTS, FusedAttention, is_same, module_dtype, two_texts
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.narrow import widened
from poolwise.kernels.packing import Packing


class FinalLayer(nn.Module):
    """A llama-style layer that returns one row per text instead of one per token if the packing asks for it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Float[Tensor, "B T D"], *args: Any, **kwargs: Any) -> Float[Tensor, "B _ D"]:
        """Return the layer's output for all tokens, or for the last token of each text, in packed order."""
        packing: Packing | None = kwargs.get("packing")
        if packing is None or not packing.last_only:
            whole: Tensor = self.layer(hidden_states, *args, **kwargs)
            return whole
        return self._last(hidden_states, kwargs["position_embeddings"], packing)

    def _last(
        self, states: Float[Tensor, "1 N D"], position_embeddings: tuple[Tensor, Tensor], packing: Packing
    ) -> Float[Tensor, "1 M D"]:
        parts: Any = self.layer  # many classes, with the same attributes used here
        attended = parts.self_attn.attend_last(parts.input_layernorm(states), position_embeddings, packing)
        last = states[:, packing.last_rows] + attended
        result: Tensor = last + parts.mlp(parts.post_attention_layernorm(last))
        return result


@torch.no_grad()
def trim_final_layer(model: PreTrainedModel) -> bool:
    """Replace a model's last layer with a ``FinalLayer``, if its attention is fused; return whether it was replaced.

    Layers with another structure (more norms, scaled residuals) fail the trial and are kept.
    """
    layers = decoder_layers(model)
    if not isinstance(getattr(layers[-1], "self_attn", None), FusedAttention):
        return False
    final = FinalLayer(layers[-1])
    with widened(final):
        if not _same_on_trial(final, model):
            return False
    layers[-1] = final
    return True


def _same_on_trial(final: FinalLayer, model: PreTrainedModel) -> bool:
    states, arguments = two_texts(model, module_dtype(final))
    whole = final(states, **arguments(last_only=False))
    trimmed_arguments = arguments(last_only=True)
    rows = trimmed_arguments["packing"].last_rows[:NUM_TRIAL_TEXTS]
    return is_same(final(states, **trimmed_arguments)[:, :NUM_TRIAL_TEXTS], whole[:, rows])
