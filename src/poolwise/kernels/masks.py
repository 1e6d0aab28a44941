"""Attention that differs by layer or by token: what the one switch of a configuration cannot say.

A layer that is to see earlier tokens only carries a mark, which packed attention reads; a hook that stays on the layer
takes later tokens out of the mask that a padded batch hands it. Neither knows anything of a batch, so a layer that a
gradient checkpoint runs again in the backward sees what it saw before.
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
    """Return whether an attention module sees earlier tokens only, by its mark or else by its configuration."""
    return has_mark(attention) or bool(getattr(attention.config, "is_causal", True))


def has_mark(attention: nn.Module) -> bool:
    """Return whether an attention module is causal whatever its configuration says."""
    return bool(getattr(attention, _MARK, False))


def set_mark(attention: nn.Module, is_marked: bool) -> None:
    """Make an attention module causal whatever its configuration says, or leave it to that."""
    setattr(attention, _MARK, is_marked)


def restrict_layers(model: PreTrainedModel, layers: Sequence[nn.Module], num_causal: int) -> None:
    """Let the first ``num_causal`` layers see earlier tokens only, and the others what the configuration says.

    Raises: ModelError where a layer to restrict is handed no mask.
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
    """Return whether a hook on a layer is the one of ``restrict_layers``."""
    return isinstance(hook, partial) and hook.func is _hide_later


def _place_of_mask(layer: nn.Module) -> int:
    names = list(inspect.signature(layer.forward).parameters)
    if "attention_mask" not in names:
        raise ModelError(
            f"{type(layer).__name__} takes no attention_mask",
            "wanted layers that are handed their mask",
            "give every layer one attention: causal or bidirectional",
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
    """Return whether a model's attention adds masks to its scores, or else reads which keys count."""
    return attention_in_use(config) == "eager"


def earlier_only(
    mask: Shaped[Tensor, "B 1 T T"] | None, states: Shaped[Tensor, "B T D"], is_added: bool
) -> Shaped[Tensor, "_ 1 T T"]:
    """Return a layer's mask without later tokens; None stands for all tokens."""
    earlier = _earlier(states.shape[1], states.device)
    if mask is None:
        return _of_kind(earlier[None, None], is_added)
    if mask.dtype == torch.bool:
        return mask & earlier
    return mask.masked_fill(~earlier, torch.finfo(mask.dtype).min)


def prefix_mask(mask: Bool[Tensor, "B T"], prompt: Bool[Tensor, "B T"], is_added: bool) -> Shaped[Tensor, "B 1 T T"]:
    """Return the mask under which the prompt's tokens see each other both ways and all others see earlier ones."""
    seen = (mask[:, None, :] & _earlier(mask.shape[1], mask.device)) | (prompt[:, :, None] & prompt[:, None, :])
    return _of_kind(seen[:, None], is_added)


def _earlier(num_tokens: int, device: torch.device) -> Bool[Tensor, "T T"]:
    return torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=device).tril()


def _of_kind(seen: Bool[Tensor, "*shape"], is_added: bool) -> Shaped[Tensor, "*shape"]:
    if not is_added:
        return seen
    zeros = torch.zeros(seen.shape, device=seen.device)
    return zeros.masked_fill(~seen, torch.finfo(zeros.dtype).min)
