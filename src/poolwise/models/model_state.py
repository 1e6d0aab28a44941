"""A fast check, before every call, that a model is unchanged since its copy for encoding was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from poolwise.kernels.masks import is_own_hook
from poolwise.upstream.peft import adapter_settings
from poolwise.upstream.torch import num_writes, own_parts

_SETTINGS = (bool, int, float, str, type(None))
_NOT_READ = frozenset({"training", "padding_side", "_max_tokens", "is_prepared"})
"""Settings that a copy does not use: it is always in evaluation mode and gets ids from the model's own tokeniser."""


class ModelState:
    """The modules, settings and weights of a model at one moment.

    A changed weight is detected from its address, its number of writes, and one value, because torch does not count
    writes through ``.data``.
    """

    def __init__(self, structure: list[object], weights: Sequence[Tensor]) -> None:
        self._structure = structure
        self._views = _one_value_views(weights)
        self._values = [torch.cat(views) for views in self._views]

    def is_of(self, model: SentenceTransformer) -> bool:
        """Return whether a model is in this state now."""
        found = _look_at(model)
        # If the addresses are unchanged, the views show the current values.
        return (
            found is not None
            and found[0] == self._structure
            and all(torch.equal(torch.cat(views), old) for views, old in zip(self._views, self._values, strict=True))
        )


def state_of(model: SentenceTransformer) -> ModelState | None:
    """Return the state of a model; None if a copy of its modules might behave differently.

    That is the case with foreign hooks, a replaced ``forward``, a compiled module, or placement by accelerate.
    """
    found = _look_at(model)
    return None if found is None else ModelState(*found)


def _look_at(model: SentenceTransformer) -> tuple[list[object], list[Tensor]] | None:
    structure: list[object] = [
        (name, value)
        for part in model
        for name, value in vars(part).items()
        if type(value) in _SETTINGS and name not in _NOT_READ
    ]
    weights: list[Tensor] = []
    waiting: list[nn.Module | None] = [model]
    while waiting:
        if (module := waiting.pop()) is None:
            continue
        if (parts := own_parts(module, is_own_hook)) is None:
            return None
        structure.append(id(module))
        if settings := adapter_settings(module):
            structure.append(settings)
        weights += [weight for weight in parts[0] if weight is not None]
        waiting += parts[1]
    for weight in weights:
        if weight.is_meta:
            return None
        # A weight in oneDNN's own layout has no address and cannot be written, only replaced.
        structure += (id(weight) if weight.is_mkldnn else weight.data_ptr(), num_writes(weight))
    return structure, [weight for weight in weights if not weight.is_mkldnn]


def _one_value_views(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return a view of the middle value of every weight, grouped by dtype and device."""
    kinds: dict[Any, list[Tensor]] = {}
    for weight in weights:
        if weight.numel():
            steps = zip(weight.shape, weight.stride(), strict=True)
            place = weight.storage_offset() + sum((size // 2) * step for size, step in steps)
            view = weight.detach().as_strided((1,), (1,), place)
            kinds.setdefault((weight.dtype, weight.device), []).append(view)
    return list(kinds.values())
