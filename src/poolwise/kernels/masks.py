"""Masks for attention that differs by layer or by token, which the model configuration cannot express.

A causal layer has a mark, which packed attention reads. For padded batches a permanent hook on the layer removes later
tokens from its mask. Neither depends on a batch, so a layer that a gradient checkpoint recomputes sees the same tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from poolwise.errors import ModelError
from poolwise.upstream.transformers import attention_in_use

_MARK = "_sees_earlier_only"
_HANDLE = "_earlier_only_handle"


def is_causal(attention: nn.Module) -> bool:
    """Return whether an attention module is causal, according to its mark or its configuration."""
    return has_mark(attention) or bool(getattr(attention.config, "is_causal", True))


def has_mark(attention: nn.Module) -> bool:
    """Return whether an attention module is marked as causal, whatever its configuration says."""
    return bool(getattr(attention, _MARK, False))


def set_mark(attention: nn.Module, is_marked: bool) -> None:
    """Mark an attention module as causal whatever its configuration says, or remove the mark."""
    setattr(attention, _MARK, is_marked)


def restrict_layers(model: PreTrainedModel, layers: Sequence[nn.Module], num_causal: int) -> None:
    """Make the first ``num_causal`` layers causal; the other layers follow the configuration.

    Raises: ModelError if a layer to restrict takes no mask.
    """
    for number, layer in enumerate(layers):
        if (handle := getattr(layer, _HANDLE, None)) is not None:
            handle.remove()
            delattr(layer, _HANDLE)
        for module in layer.modules():
            if hasattr(module, "config"):
                set_mark(module, number < num_causal)
        if number < num_causal:
            hook = partial(_hide_later, model.config, _place_of_mask(layer))
            setattr(layer, _HANDLE, layer.register_forward_pre_hook(hook, with_kwargs=True))


def is_own_hook(hook: object) -> bool:
    """Return whether a hook on a layer was added by ``restrict_layers``."""
    return isinstance(hook, partial) and hook.func is _hide_later


def _place_of_mask(layer: nn.Module) -> int:
    names = list(inspect.signature(layer.forward).parameters)
    if "attention_mask" not in names:
        raise ModelError(
            f"{type(layer).__name__} takes no attention_mask",
            "wanted layers with an attention_mask argument",
            "use one attention for all layers: causal or bidirectional",
        )
    return names.index("attention_mask")


def _hide_later(
    config: PreTrainedConfig, place: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if kwargs.get("packing") is not None:  # packed attention reads no mask
        return None
    states = args[0] if args else kwargs["hidden_states"]
    hide = partial(earlier_only, states=states, is_added=adds_masks(config))
    if len(args) > place:
        return (*args[:place], hide(args[place]), *args[place + 1 :]), dict(kwargs)
    return args, {**kwargs, "attention_mask": hide(kwargs.get("attention_mask"))}


def adds_masks(config: PreTrainedConfig) -> bool:
    """Return whether a model's attention adds its mask to the scores (True) or takes a boolean mask (False)."""
    return attention_in_use(config) == "eager"


def earlier_only(
    mask: Shaped[Tensor, "B 1 T T"] | None, states: Shaped[Tensor, "B T D"], is_added: bool
) -> Shaped[Tensor, "_ 1 T T"]:
    """Return a layer's mask with later tokens removed; a mask of None means all tokens."""
    earlier = _earlier(states.shape[1], states.device)
    if mask is None:
        return _of_kind(earlier[None, None], is_added)
    if mask.dtype == torch.bool:
        return mask & earlier
    return mask.masked_fill(~earlier, torch.finfo(mask.dtype).min)


def prefix_mask(mask: Bool[Tensor, "B T"], prompt: Bool[Tensor, "B T"], is_added: bool) -> Shaped[Tensor, "B 1 T T"]:
    """Return a mask that is bidirectional among the prompt's tokens and causal for all others."""
    seen = (mask[:, None, :] & _earlier(mask.shape[1], mask.device)) | (prompt[:, :, None] & prompt[:, None, :])
    return _of_kind(seen[:, None], is_added)


def _earlier(num_tokens: int | torch.SymInt, device: torch.device) -> Bool[Tensor, "T T"]:
    return torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=device).tril()


def _of_kind(seen: Bool[Tensor, "*shape"], is_added: bool) -> Shaped[Tensor, "*shape"]:
    if not is_added:
        return seen
    zeros = torch.zeros(seen.shape, device=seen.device)
    return zeros.masked_fill(~seen, torch.finfo(zeros.dtype).min)
