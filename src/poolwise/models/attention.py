"""Which tokens see which: set by one switch on the loaded configuration, and proved by behaviour.

The switch, ``config.is_causal``, is read by transformers' mask functions from 5.2 on. Set through ``from_pretrained``
it is silently ignored, and a reloaded adapter comes back causal: so it is set on the live model, stored in our own
configuration, set again on load, and never believed without the probe. What differs by layer is in ``masks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from poolwise.attentions import Attention, parse_attention
from poolwise.errors import ModelError
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.masks import restrict_layers
from poolwise.models.families import SUPPORTED


def set_attention(model: PreTrainedModel, attention: Attention) -> None:
    """Give a loaded model its attention. Only the probe shows whether its family obeys.

    Raises: ConfigError where the attention names more layers than the model has.
    """
    mode = parse_attention(attention)
    for module in model.modules():
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            config.is_causal = mode.ends_causal
    layers = decoder_layers(model)
    restrict_layers(model, list(layers), mode.num_causal(len(layers)) if mode.top is not None else 0)


@dataclass(frozen=True)
class AttentionProbe:
    """Whether token 0's final state moved when the last real token was exchanged, by kind of padding.

    Args:
        layers: of a model whose attention differs by layer, by kind of padding: whether token 0 moved, layer by layer.
        prompt: of a model whose attention depends on the prompt, by kind of padding: whether token 0, the prompt's
            first, moved when the prompt's last token was exchanged.
    """

    unpadded: bool
    padded_left: bool
    padded_right: bool
    layers: tuple[tuple[bool, ...], ...] = ()
    prompt: tuple[bool, ...] = ()

    @property
    def attention(self) -> str:
        """What all answers together say; "mixed" where padding or layers change the kind of attention."""
        moved = {self.unpadded, self.padded_left, self.padded_right}
        if len(moved) == 2 or len(set(self.layers)) > 1 or len(set(self.prompt)) > 1:
            return "mixed"
        if moved == {False}:
            return "bidirectional(on=prompt)" if self.prompt and self.prompt[0] else "causal"
        if not self.layers:
            return "bidirectional"
        top = sum(self.layers[0])
        is_top = all(self.layers[0][-top:])
        return f"bidirectional(top={top})" if is_top else "mixed"

    @property
    def facts(self) -> dict[str, bool]:
        """What goes into a run's record: what moved, by its name; of layers, the last that did not and the next."""
        facts = {"unpadded": self.unpadded, "padded_left": self.padded_left, "padded_right": self.padded_right}
        if self.layers:
            layers = self.layers[0]
            edge = layers.count(False)
            facts |= {f"layer_{n}": layers[n - 1] for n in (edge, edge + 1) if 0 < n <= len(layers)}
        if self.prompt:
            facts["prompt"] = all(self.prompt)
        return facts


_LENGTH, _PROMPT, _PADDING = 8, 4, 3
_PADDINGS = ((0, 0), (_PADDING, 0), (0, _PADDING))
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


@contextmanager
def _giving_layers(backbone: Any) -> Iterator[None]:
    before, backbone.layer_tokens = backbone.layer_tokens, "last"
    try:
        yield
    finally:
        backbone.layer_tokens = before


def _first_states(model: SentenceTransformer, features: dict[str, Int[Tensor, "B T"]], by_layer: bool) -> Tensor:
    """Return token 0 of the first text: its final state (1 D), or, of one of our models, that of each layer (L D)."""
    first = int(features["attention_mask"][0].argmax())
    moved = {name: value.to(model.device) for name, value in features.items()}
    if not by_layer:
        return model[0](moved)["token_embeddings"][0, first : first + 1].float()
    only_first = torch.zeros_like(moved["attention_mask"])
    only_first[torch.arange(len(only_first)), moved["attention_mask"].argmax(dim=1)] = 1
    with _giving_layers(model[0]):
        states: Tensor = model[0]({**moved, "pooling_mask": only_first})["layer_embeddings"][0]
    return states.float()


def _has_moved(
    model: SentenceTransformer, padding: tuple[int, int], place: int, num_prompt: int = 0, by_layer: bool = False
) -> tuple[bool, ...]:
    """Return whether token 0 of a text padded so (beside an unpadded one, if padded) sees its token ``place``."""
    source, (num_left, num_right) = _probe_ids(model), padding
    length = _LENGTH + num_left + num_right
    ids = source[:length].repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[0, :num_left] = 0
    mask[0, length - num_right :] = 0
    features = {"input_ids": ids, "attention_mask": mask}
    if num_prompt:
        features["prompt_mask"] = mask * (mask.cumsum(dim=1) <= num_prompt)
    changed = ids.clone()
    changed[0, num_left + place] = source[-1]
    before, after = (_first_states(model, {**features, "input_ids": x}, by_layer) for x in (ids, changed))
    limits = _MOVED * before.abs().amax(dim=1)
    return tuple(((before - after).abs().amax(dim=1) > limits).tolist())


@torch.no_grad()
def probe_attention(model: SentenceTransformer) -> AttentionProbe:
    """Return how the model behaves, measured through the forward that encoding uses.

    Works for any model whose first module wraps a transformer, in six forwards of two texts of at most 11 tokens. Of a
    model of ours with a partial attention it looks at every layer, or at the prompt too, in the same forward.
    """
    stored = getattr(model[0], "attention", None)
    mode = parse_attention(stored if isinstance(stored, str) else "causal")
    was_training = model.training
    model.eval()
    try:
        layers = tuple(_has_moved(model, padding, _LENGTH - 1, by_layer=mode.top is not None) for padding in _PADDINGS)
        unpadded, left, right = (moved[-1] for moved in layers)
        if not mode.on_prompt:
            return AttentionProbe(unpadded, left, right, layers if mode.top is not None else ())
        # The text must not reach back into the prompt either.
        by_text = [_has_moved(model, padding, _LENGTH - 1, _PROMPT)[-1] for padding in _PADDINGS]
        by_prompt = tuple(_has_moved(model, padding, _PROMPT - 1, _PROMPT)[-1] for padding in _PADDINGS)
        return AttentionProbe(unpadded or by_text[0], left or by_text[1], right or by_text[2], prompt=by_prompt)
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
            "its family ignores config.is_causal or its layers' masks; families known to work: " + ", ".join(SUPPORTED),
        )
    return probe
