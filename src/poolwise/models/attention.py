"""The attention of a model: set by ``config.is_causal`` on the loaded model, and verified by a probe.

transformers' mask functions read ``config.is_causal`` from version 5.2 on. If it is passed to ``from_pretrained`` it is
silently ignored, and a reloaded adapter is causal again. So we set it on the live model, store it in our own
configuration, set it again on load, and always verify it with the probe. Differences by layer are in ``masks``.
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

from poolwise.attentions import Attention, AttentionMode, parse_attention
from poolwise.errors import ModelError, PoolwiseError, is_out_of_memory
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.masks import restrict_layers
from poolwise.kernels.narrow import computed_in_fp32, has_narrow_weights
from poolwise.kernels.precision import uses_bf16
from poolwise.models.families import SUPPORTED


def set_attention(model: PreTrainedModel, attention: Attention) -> None:
    """Set the attention of a loaded model. Only the probe shows whether its architecture supports it.

    Raises: ConfigError if the attention names more layers than the model has.
    """
    mode = parse_attention(attention)
    for module in model.modules():
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            config.is_causal = mode.ends_causal
    layers = decoder_layers(model)
    restrict_layers(model, list(layers), mode.num_causal(len(layers)) if mode.top is not None else 0)


@dataclass(frozen=True)
class AttentionProbe:
    """Whether token 0's final state changed when the last real token was replaced, by kind of padding.

    Args:
        layers: for attention that differs by layer, by kind of padding: whether token 0's state changed in each layer.
        prompt: for attention that depends on the prompt, by kind of padding: whether the state of token 0, the prompt's
            first, changed when the prompt's last token was replaced.
    """

    unpadded: bool
    padded_left: bool
    padded_right: bool
    layers: tuple[tuple[bool, ...], ...] = ()
    prompt: tuple[bool, ...] = ()

    @property
    def attention(self) -> str:
        """The attention that the results show; "mixed" if they depend on the padding, or fit no known attention."""
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
        """The results for a run's record, by name; of the layers, only the last causal one and the next."""
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
# Both forwards of a pair have the same shape, so most causal models give the same bits, in bf16 too.
_MOVED = 1e-6
# Below this, a change in bf16 may be rounding: experts, for example, multiply other groups of tokens when one changes.
_CLEARLY_MOVED = 0.1


def _probe_ids(model: SentenceTransformer) -> Int[Tensor, " T"]:
    """Return ids of ordinary tokens across the vocabulary: a text, its padding and one replacement token."""
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
    """Return the state of the first text's token 0: final (1 D), or of each layer (L D), for poolwise models only."""
    first = int(features["attention_mask"][0].argmax())
    moved = {name: value.to(model.device) for name, value in features.items()}
    if not by_layer:
        return model[0](moved)["token_embeddings"][0, first : first + 1].float()
    only_first = torch.zeros_like(moved["attention_mask"])
    only_first[torch.arange(len(only_first)), moved["attention_mask"].argmax(dim=1)] = 1
    with _giving_layers(model[0]):
        states: Tensor = model[0]({**moved, "pooling_mask": only_first})["layer_embeddings"][0]
    return states.float()


def _movement(
    model: SentenceTransformer, padding: tuple[int, int], place: int, num_prompt: int = 0, by_layer: bool = False
) -> tuple[float, ...]:
    """Return how far token 0's state moves when token ``place`` is replaced, relative to its largest value.

    The text has this padding and is in a batch with an unpadded text. One number for the final state, or one per layer.
    """
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
    return tuple(((before - after).abs().amax(dim=1) / before.abs().amax(dim=1)).tolist())


Movements = list[tuple[float, ...]]
"""By kind of padding, in the order of ``_PADDINGS``: the movement of the final state, or of each layer's."""


def _measure(model: SentenceTransformer, mode: AttentionMode) -> tuple[Movements, Movements, Movements]:
    """Return the movements for a replaced last token, and with a prompt: for a last token, for the prompt's last."""
    by_layer = mode.top is not None
    found = [_movement(model, padding, _LENGTH - 1, by_layer=by_layer) for padding in _PADDINGS]
    if not mode.on_prompt:
        return found, [], []
    by_text = [_movement(model, padding, _LENGTH - 1, _PROMPT) for padding in _PADDINGS]
    by_prompt = [_movement(model, padding, _PROMPT - 1, _PROMPT) for padding in _PADDINGS]
    return found, by_text, by_prompt


def rounds(model: SentenceTransformer) -> bool:
    """Return whether a model computes in less than fp32, because of its weights or of its products."""
    return has_narrow_weights(model) or any(
        uses_bf16(module.precision, model.device) for module in model if hasattr(module, "precision")
    )


@contextmanager
def exact(model: SentenceTransformer) -> Iterator[None]:
    """Compute a model in fp32 inside the block, whatever the dtype of its weights and its precision."""
    lowered = [
        (part, name, vars(part)[name]) for part in model for name in ("_precision", "precision") if name in vars(part)
    ]
    for part, name, _ in lowered:
        setattr(part, name, "fp32")
    try:
        with computed_in_fp32(model):
            yield
    finally:
        for part, name, before in lowered:
            setattr(part, name, before)


@torch.no_grad()
def probe_attention(model: SentenceTransformer) -> AttentionProbe:
    """Return which tokens see each other, measured with the same forward as encoding.

    Works for any model whose first module wraps a transformer, with six forwards of two texts of at most 11 tokens. For
    poolwise models with partial attention it also checks every layer, or the prompt with further forwards. A model that
    computes in bf16 or fp16 is measured again in fp32 where a change is small enough to be rounding.
    """
    stored = getattr(model[0], "attention", None)
    mode = parse_attention(stored if isinstance(stored, str) else "causal")
    was_training = model.training
    model.eval()
    try:
        measured = _measure(model, mode)
        if rounds(model) and any(_may_be_rounding(amount) for part in measured for row in part for amount in row):
            with exact(model):
                measured = _measure(model, mode)
        return _judged(mode, *measured)
    finally:
        model.train(was_training)


def _may_be_rounding(amount: float) -> bool:
    return _MOVED < amount < _CLEARLY_MOVED


def _judged(mode: AttentionMode, found: Movements, by_text: Movements, by_prompt: Movements) -> AttentionProbe:
    layers, of_text, of_prompt = (
        [tuple(amount > _MOVED for amount in row) for row in part] for part in (found, by_text, by_prompt)
    )
    # A prompt must not see the text either.
    unpadded, left, right = (
        row[-1] or any(other[-1] for other in of_text[place : place + 1]) for place, row in enumerate(layers)
    )
    return AttentionProbe(
        unpadded,
        left,
        right,
        tuple(layers) if mode.top is not None else (),
        prompt=tuple(row[-1] for row in of_prompt),
    )


def check_attention(model: SentenceTransformer) -> AttentionProbe:
    """Return the probe of a poolwise model.

    Raises: ModelError if its behaviour differs from the attention stored with the model, or its architecture cannot
        compute with that attention.
    """
    wanted, architecture = model[0].attention, model[0].model.config.model_type
    try:
        probe = probe_attention(model)
    except Exception as error:
        # Architectures that we have not verified may expect what transformers gives only to causal ones, as mpt does.
        if architecture in SUPPORTED or isinstance(error, PoolwiseError) or is_out_of_memory(error):
            raise
        raise ModelError(
            f"{architecture} cannot be computed with {wanted} attention: {error}",
            "wanted an architecture that can",
            "try another attention; architectures known to work: " + ", ".join(SUPPORTED),
        ) from error
    if probe.attention != wanted:
        raise ModelError(
            f"the model behaves {probe.attention} ({probe})",
            f"wanted {wanted}, as stored with it",
            "its architecture ignores config.is_causal or its layers' masks, with eager attention too; architectures "
            "known to work: " + ", ".join(SUPPORTED),
        )
    return probe
