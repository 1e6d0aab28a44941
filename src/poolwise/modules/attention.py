"""Causal or bidirectional: set by one switch on the loaded configuration, and proved by behaviour.

The switch, ``config.is_causal``, is read by transformers' mask functions from 5.2 on. Set through ``from_pretrained``
it is silently ignored, and a reloaded adapter comes back causal: so it is set on the live model, stored in our own
configuration, set again on load, and never believed without the probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import PreTrainedConfig

from poolwise.design import Attention
from poolwise.errors import ModelError
from poolwise.modules.families import SUPPORTED


def set_attention(model: nn.Module, mode: Attention) -> None:
    """Switch a loaded model to ``mode``. Only the probe shows whether its family obeys."""
    for module in model.modules():
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            config.is_causal = mode == "causal"


@dataclass(frozen=True)
class AttentionProbe:
    """Whether token 0's final state moved when the last real token was exchanged, by kind of padding."""

    unpadded: bool
    padded_left: bool
    padded_right: bool

    @property
    def attention(self) -> Literal["causal", "bidirectional", "mixed"]:
        """What the three answers together say; "mixed" where padding changes the kind of attention."""
        moved = {self.unpadded, self.padded_left, self.padded_right}
        if len(moved) == 2:
            return "mixed"
        return "bidirectional" if True in moved else "causal"


_LENGTH, _PADDING = 8, 3
# Both forwards of a pair have the same shape, so that a causal model gives the same bits; bf16 models do too.
_MOVED = 1e-6


def _probe_ids(model: SentenceTransformer) -> Int[Tensor, " T"]:
    """Return ids of ordinary tokens, spread over the vocabulary: one text, its padding and one token to exchange."""
    vocab_size = model.config.get_text_config().vocab_size
    usable = min(len(model.tokenizer), vocab_size)
    special = set(model.tokenizer.all_special_ids)
    ordinary = [i for i in range(usable) if i not in special] or list(range(usable))
    wanted = _LENGTH + _PADDING + 1
    return torch.tensor([ordinary[i * len(ordinary) // wanted] for i in range(wanted)])


def _states(model: SentenceTransformer, ids: Int[Tensor, "B T"], mask: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
    features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    moved = {name: value.to(model.device) for name, value in features.items()}
    return model[0](moved)["token_embeddings"].float()


def _has_moved(model: SentenceTransformer, num_left: int, num_right: int) -> bool:
    """Return whether token 0 of a text padded so (beside an unpadded one, if padded) sees its last token."""
    source = _probe_ids(model)
    length = _LENGTH + num_left + num_right
    ids = source[:length].repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[0, :num_left] = 0
    mask[0, length - num_right :] = 0
    changed = ids.clone()
    changed[0, length - num_right - 1] = source[-1]
    before, after = (_states(model, x, mask)[0, num_left] for x in (ids, changed))
    return bool((before - after).abs().max() > _MOVED * before.abs().max())


@torch.no_grad()
def probe_attention(model: SentenceTransformer) -> AttentionProbe:
    """Return how the model behaves, measured through the forward that encoding uses.

    Works for any model whose first module wraps a transformer, in six forwards of two texts of at most 11 tokens.
    """
    was_training = model.training
    model.eval()
    try:
        return AttentionProbe(
            unpadded=_has_moved(model, 0, 0),
            padded_left=_has_moved(model, _PADDING, 0),
            padded_right=_has_moved(model, 0, _PADDING),
        )
    finally:
        model.train(was_training)


def check_attention(model: SentenceTransformer) -> AttentionProbe:
    """Return the probe of a poolwise model.

    Raises: ModelError where the behaviour is not the attention that is stored with the model.
    """
    probe, wanted = probe_attention(model), model[0].attention
    if probe.attention != wanted:
        raise ModelError(
            f"the model behaves {probe.attention} ({probe})",
            f"wanted {wanted}, as stored with it",
            "its family ignores config.is_causal; families known to work: " + ", ".join(SUPPORTED),
        )
    return probe
