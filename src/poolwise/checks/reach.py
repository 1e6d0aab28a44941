"""What each layer of a transformer lets a token see, one layer at a time, whatever the architecture.

A second forward gives every layer the inputs of the first one, with only the last token's exchanged. So a movement of
token 0's output comes from that layer alone, not from a layer below.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from poolwise.errors import ModelError
from poolwise.kernels.layers import decoder_layers
from poolwise.upstream.transformers import attention_in_use

LENGTH, PADDING = 8, 3
PADDINGS = {"none": (0, 0), "left": (PADDING, 0), "right": (0, PADDING)}
# Both forwards have the same shape, so a causal layer gives the same bits; attention_probe uses the same threshold.
MOVED = 1e-6


@dataclass(frozen=True)
class Reach:
    """Whether each layer lets the first token see the last, by kind of padding."""

    by_padding: Mapping[str, tuple[bool, ...]]

    @property
    def layers(self) -> tuple[bool, ...]:
        """Without padding."""
        return self.by_padding["none"]

    @property
    def depends_on_padding(self) -> bool:
        """Whether padding changes what a layer lets a token see."""
        return len(set(self.by_padding.values())) > 1

    @property
    def attention(self) -> str:
        """``causal``, ``bidirectional``, or ``mixed`` where layers or paddings differ."""
        if self.depends_on_padding or len(set(self.layers)) > 1:
            return "mixed"
        return "bidirectional" if self.layers[0] else "causal"

    def __str__(self) -> str:
        if self.depends_on_padding:
            return "; ".join(f"padding {name}: {_words(layers)}" for name, layers in self.by_padding.items())
        return _words(self.layers)


def _words(layers: tuple[bool, ...]) -> str:
    if len(set(layers)) == 1:
        return f"all {len(layers)} layers {'bidirectional' if layers[0] else 'causal'}"
    both = [number for number, sees in enumerate(layers, start=1) if sees]
    return f"layers {ranges(both)} of {len(layers)} bidirectional, the others causal"


def ranges(numbers: list[int]) -> str:
    """Return ascending numbers as ranges: ``1-3, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def measure_reach(transformer: PreTrainedModel, ids: list[int]) -> Reach:
    """Return what each layer of a transformer lets a token see.

    Args:
        ids: ``LENGTH + PADDING`` ids of ordinary tokens.
    Raises: ModelError if the layers cannot be found or read one at a time.
    """
    layers = decoder_layers(transformer)
    return Reach({name: _layers_moved(transformer, layers, ids, *padding) for name, padding in PADDINGS.items()})


def _layers_moved(
    transformer: PreTrainedModel, layers: nn.ModuleList, ids: list[int], left: int, right: int
) -> tuple[bool, ...]:
    length = LENGTH + left + right
    device = transformer.get_input_embeddings().weight.device
    inputs: dict[str, Any] = {"input_ids": torch.tensor([ids[:length]], device=device).repeat(2, 1)}
    mask = torch.ones_like(inputs["input_ids"])
    mask[0, :left] = 0
    mask[0, length - right :] = 0
    inputs["attention_mask"] = mask
    if "use_cache" in inspect.signature(transformer.forward).parameters:
        inputs["use_cache"] = False
    first, last = left, left + LENGTH - 1
    kept: dict[int, Tensor] = {}
    before: dict[int, Tensor] = {}
    after: dict[int, Tensor] = {}
    with _hooked(layers, partial(_keep, kept), partial(_output, before, first)):
        transformer(**inputs)
    if any(states.shape[:2] != mask.shape for states in kept.values()) or len(kept) != len(layers):
        raise ModelError("its layers do not read (texts, tokens, width)")
    with _hooked(layers, partial(_exchange, kept, last), partial(_output, after, first)):
        transformer(**inputs)
    return tuple(
        float((before[place] - after[place]).abs().max()) > MOVED * float(before[place].abs().max())
        for place in range(len(layers))
    )


@contextmanager
def _hooked(layers: nn.ModuleList, on_input: Any, on_output: Any) -> Iterator[None]:
    handles = []
    for place, layer in enumerate(layers):
        handles.append(layer.register_forward_pre_hook(partial(on_input, place), with_kwargs=True))
        handles.append(layer.register_forward_hook(partial(on_output, place)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _keep(kept: dict[int, Tensor], place: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
    kept[place] = (args[0] if args else kwargs["hidden_states"]).clone()


def _exchange(
    kept: Mapping[int, Tensor], last: int, place: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    states = kept[place].clone()
    # Rolled, so that its norm and its mean stay and no layer norm undoes the change.
    states[0, last] = states[0, last].roll(1)
    return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})


def _output(found: dict[int, Tensor], first: int, place: int, _layer: nn.Module, _inputs: Any, output: Any) -> None:
    states = output[0] if isinstance(output, tuple) else output
    found[place] = states[0, first].float().clone()


@contextmanager
def kernel_of(transformer: PreTrainedModel, kernel: str) -> Iterator[None]:
    """Compute with another attention kernel inside the block.

    Raises: ValueError or ImportError if the architecture or this machine does not have it.
    """
    before = attention_in_use(transformer.config)
    try:
        transformer.set_attn_implementation(kernel)
        # transformers only warns where an architecture has one kernel.
        if attention_in_use(transformer.config) != kernel:
            raise ValueError(f"{transformer.config.model_type} has no {kernel} attention")
        yield
    finally:
        transformer.set_attn_implementation(before)
