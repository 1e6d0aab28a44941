"""Whether a model is still what it was when a copy of it was made; asked before every call, so it must be quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from poolwise.kernels.masks import is_own_hook

_SETTINGS = (bool, int, float, str, type(None))
_NOT_READ = frozenset({"training", "padding_side", "_max_tokens", "is_prepared"})
"""What a copy does not look at: it is always in evaluation, and takes ids that the model's own tokenisation made."""


class ModelState:
    """The modules, settings and weights of a model at one moment.

    Weights are told apart by where they lie, how often they were written to, and one value of each, since writing
    through ``.data`` counts as no write.
    """

    def __init__(self, structure: list[object], weights: Sequence[Tensor]) -> None:
        self._structure = structure
        self._views = _one_value_views(weights)
        self._values = [torch.cat(views) for views in self._views]

    def is_of(self, model: SentenceTransformer) -> bool:
        """Return whether a model is in this state now."""
        found = _look_at(model)
        # Where weights lie as they did, the views show what they hold now.
        return (
            found is not None
            and found[0] == self._structure
            and all(torch.equal(torch.cat(views), old) for views, old in zip(self._views, self._values, strict=True))
        )


def state_of(model: SentenceTransformer) -> ModelState | None:
    """Return the state of a model; None where a copy of its modules might do something else than the model.

    That is where somebody hung hooks on it, gave a module a ``forward`` of its own, compiled it, or lets accelerate
    place it.
    """
    found = _look_at(model)
    return None if found is None else ModelState(*found)


def _look_at(model: SentenceTransformer) -> tuple[list[object], list[Tensor]] | None:
    if model._compiled_call_impl is not None:
        return None
    structure: list[object] = [
        (name, value)
        for part in model._modules.values()
        for name, value in part.__dict__.items()
        if type(value) in _SETTINGS and name not in _NOT_READ
    ]
    weights: list[Tensor] = []
    waiting: list[nn.Module] = [model]
    while waiting:
        module = waiting.pop()
        own = module.__dict__
        if own["_forward_hooks"] or own["_backward_hooks"] or "forward" in own or "_hf_hook" in own:
            return None
        if own["_forward_pre_hooks"] and not all(map(is_own_hook, own["_forward_pre_hooks"].values())):
            return None
        structure.append(id(module))
        if "merged_adapters" in own:
            structure.append(_adapter_settings(own))
        weights += own["_parameters"].values()
        weights += own["_buffers"].values()
        waiting += own["_modules"].values()
    weights = [weight for weight in weights if weight is not None]
    for weight in weights:
        if weight.is_meta:
            return None
        structure += (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
    return structure, weights


def _adapter_settings(own: dict[str, Any]) -> tuple[object, ...]:
    """Return which adapters of a layer of peft's are active, merged or switched off, and how they are scaled."""
    active = own["_active_adapter"]
    scaling = tuple(own.get("scaling", {}).values())
    return (
        active if isinstance(active, str) else tuple(active),
        own["_disable_adapters"],
        *own["merged_adapters"],
        scaling,
    )


def _one_value_views(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return a view of the value in the middle of every weight, apart for each dtype and device."""
    kinds: dict[Any, list[Tensor]] = {}
    for weight in weights:
        if weight.numel():
            steps = zip(weight.shape, weight.stride(), strict=True)
            place = weight.storage_offset() + sum((size // 2) * step for size, step in steps)
            view = weight.detach().as_strided((1,), (1,), place)
            kinds.setdefault((weight.dtype, weight.device), []).append(view)
    return list(kinds.values())
