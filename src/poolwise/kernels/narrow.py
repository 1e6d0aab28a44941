"""Weights held in fewer bits than fp32: how they are read, and how a check computes in fp32 without a copy of them.

Only weights are narrow. States between layers stay in fp32, as with fp32 weights under autocast, so a base that was
published in bf16 gives the same embeddings in either dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

_NARROW = (torch.bfloat16, torch.float16)


def is_narrow(model: PreTrainedModel) -> bool:
    """Return whether a base's weights are held in fewer bits than fp32, which its embedding table shows."""
    return model.get_input_embeddings().weight.dtype in _NARROW


def token_inputs(model: PreTrainedModel, ids: Int[Tensor, "B T"]) -> dict[str, Tensor]:
    """Return a base's argument for token ids: the ids, or with narrow weights their embeddings in fp32 (B T D).

    With narrow embeddings, all states between layers would be narrow too, and so would rotary positions.
    """
    if not is_narrow(model):
        return {"input_ids": ids}
    states: Float[Tensor, "B T D"] = model.get_input_embeddings()(ids)
    return {"inputs_embeds": states.float()}


def has_narrow_weights(model: nn.Module) -> bool:
    """Return whether any weight of a model is bf16 or fp16."""
    return any(weight.dtype in _NARROW for weight in model.parameters())


@contextmanager
def widened(*modules: nn.Module) -> Iterator[None]:
    """Hold the weights of these modules in fp32 inside the block; afterwards they are as before.

    For single modules: the fp32 copies exist together.
    """
    before = [(weight, weight.data) for module in modules for weight in module.parameters()]
    unique = {id(weight): (weight, data) for weight, data in before if data.dtype in _NARROW}
    for weight, data in unique.values():
        weight.data = data.float()
    try:
        yield
    finally:
        for weight, data in unique.values():
            weight.data = data


@contextmanager
def looks_wide(model: nn.Module) -> Iterator[None]:
    """Let a model's narrow weights look like fp32 inside the block: with their shapes, but zero and without memory."""
    before = [(weight, weight.data) for weight in model.parameters() if weight.dtype in _NARROW]
    for weight, data in before:
        weight.data = torch.zeros((), device=data.device).expand(data.shape)
    try:
        yield
    finally:
        for weight, data in before:
            weight.data = data


@contextmanager
def computed_in_fp32(model: nn.Module) -> Iterator[None]:
    """Compute a model in fp32 inside the block; only the weights of the module at work are held in fp32.

    Embeddings are widened after they are looked up. Quantised weights are left as they are.
    """
    handles = []
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            handles.append(module.register_forward_hook(_widen_output))
            continue
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if narrow := [tensor for tensor in own if tensor.dtype in _NARROW]:
            swap = _Swap(narrow)
            handles.append(module.register_forward_pre_hook(swap.widen, with_kwargs=True))
            handles.append(module.register_forward_hook(swap.restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Swap:
    """Hooks that hold a module's own weights in fp32 during its forward."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors, self._before = tensors, [tensor.data for tensor in tensors]

    def widen(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        for tensor, data in zip(self._tensors, self._before, strict=True):
            tensor.data = data.float()
        return tuple(map(_wide, args)), {name: _wide(value) for name, value in kwargs.items()}

    def restore(self, *_: object) -> None:
        for tensor, data in zip(self._tensors, self._before, strict=True):
            tensor.data = data


def _widen_output(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
    return output.float()


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _NARROW else value
