"""Faster training of llama-style decoder layers: adapters, norms and rotations with hand-written gradients.

Autograd stores and reads a tensor for every elementwise step. The three functions below store only what their gradient
needs, and an adapter adds its product to the frozen layer's in place. Trained parameters and their names do not change:
only ``forward`` of single modules is replaced during training, and only if it gives the same output on a trial input.

With frozen weights W, adapter A (down) and B (up) scaled by s: y = x W^T + (x A^T) (s B)^T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Complex64, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from poolwise.kernels.fused import Rotation, same_on_trial, say_kept
from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.packing import Packing, packed_attention
from poolwise.upstream.peft import LoraLinear


class _AdaptedProduct(torch.autograd.Function):
    """y = x W^T + b + (x A^T) (s B)^T with W frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "*batch I"],
        weight: Float[Tensor, "O I"],
        bias: Float[Tensor, " O"] | None,
        down: Float[Tensor, "R I"],
        up: Float[Tensor, "O R"],
        scale: float,
    ) -> Float[Tensor, "*batch O"]:
        rows = x.flatten(0, -2).to(weight.dtype)
        narrow_down, narrow_up = down.to(weight.dtype), (up * scale).to(weight.dtype)
        inner = functional.linear(rows, narrow_down)
        result = functional.linear(rows, weight, bias).addmm_(inner, narrow_up.T)
        ctx.save_for_backward(rows, weight, inner, narrow_down, narrow_up)
        ctx.scale, ctx.dtype = scale, x.dtype
        return result.unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, weight, inner, down, up = ctx.saved_tensors
        (gradient,) = gradients
        flat = gradient.flatten(0, -2).to(weight.dtype)
        of_inner = flat @ up
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (flat @ weight).addmm_(of_inner, down).to(ctx.dtype).unflatten(0, gradient.shape[:-1])
        return of_x, None, None, (of_inner.T @ rows).float(), (flat.T @ inner).float().mul_(ctx.scale), None


class _Norm(torch.autograd.Function):
    """y = w x / rms(x), computed in fp32 and returned in the dtype ``result``."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], eps: float, result: torch.dtype
    ) -> Float[Tensor, "*batch D"]:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        (gradient,) = gradients
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (gradient.float() * x * scale).flatten(0, -2).sum(0)
        scaled = gradient * weight
        along = (scaled.unsqueeze(-2) @ x.unsqueeze(-1)).squeeze(-1)
        return scaled.mul_(scale).addcmul_(x, along * scale**3 / x.shape[-1], value=-1), of_weight, None, None


class _Rotated(torch.autograd.Function):
    """(a + ib) f, where a and b are the halves of a head; the gradient is multiplied by conj(f)."""

    @staticmethod
    def forward(
        ctx: Any, states: Float[Tensor, "B T H E"], factors: Complex64[Tensor, "B T 1 F"]
    ) -> Float[Tensor, "B T H E"]:
        ctx.save_for_backward(factors)
        return _turn(states, factors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (factors,) = ctx.saved_tensors
        return _turn(gradients[0], factors.conj()), None


def _turn(states: Float[Tensor, "B T H E"], factors: Complex64[Tensor, "B T 1 F"]) -> Float[Tensor, "B T H E"]:
    first, second = states.float().chunk(2, dim=-1)
    turned = torch.complex(first, second).mul_(factors)
    result = torch.empty_like(states)
    half = first.shape[-1]
    result[..., :half], result[..., half:] = turned.real, turned.imag
    return result


def _adapted(layer: LoraLinear, dtype: torch.dtype, cached: dict[int, Tensor], x: Tensor, *_: Any, **__: Any) -> Tensor:
    base = layer.get_base_layer()
    if id(base) not in cached:  # frozen: cast once, not in every forward
        cached[id(base)] = base.weight.detach().to(dtype)
    bias = None if base.bias is None else base.bias.to(dtype)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    result: Tensor = _AdaptedProduct.apply(x, cached[id(base)], bias, down, up, layer.scaling["default"])
    return result


def _normed(norm: Any, dtype: torch.dtype, states: Tensor) -> Tensor:
    result: Tensor = _Norm.apply(states, norm.weight, norm.variance_epsilon, dtype)
    return result


def _attended(
    attention: Any,
    rotation: Rotation,
    hidden_states: Float[Tensor, "B T D"],
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    packing: Packing | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "B T D"], None]:
    heads = (-1, attention.head_dim)
    query, key, value = (
        part(hidden_states).unflatten(-1, heads) for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    factors = rotation.factors(*position_embeddings)
    query, key = _Rotated.apply(query, factors), _Rotated.apply(key, factors)
    states, _none = packed_attention(
        attention,
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attention_mask,
        packing=packing,
        scaling=attention.scaling,
        dropout=attention.attention_dropout if attention.training else 0.0,
    )
    return attention.o_proj(states.flatten(2)), None


def _is_plain(module: nn.Module) -> bool:
    """Return whether an adapted layer computes y = x W^T + s x A^T B^T: no dropout, no LoRA variant, W frozen."""
    return (
        isinstance(module, LoraLinear)
        and list(module.active_adapters) == ["default"]
        and not module.merged
        and not module.lora_variant
        and not module.fan_in_fan_out
        and not module.lora_bias["default"]
        and type(module.lora_dropout["default"]) is nn.Identity
        and type(module.get_base_layer()) is nn.Linear
        and not module.get_base_layer().weight.requires_grad
    )


@contextmanager
def fused_training(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[int]:
    """Use the faster training form of a model's modules inside the block; yield how many modules use it.

    Args:
        dtype: dtype of the matrix products; trained weights stay in fp32.
    Law: loss and gradients equal those of the plain layers, up to the rounding of ``dtype``.
    """
    forms = _forms(model, dtype)
    for module, form in forms:
        module.forward = form
    try:
        yield len(forms)
    finally:
        for module, _ in forms:
            del module.forward


def _forms(model: PreTrainedModel, dtype: torch.dtype) -> list[tuple[nn.Module, Callable[..., Any]]]:
    """Return (module, faster forward) for each module whose faster form passed its trial."""
    rotation = Rotation()
    cached: dict[int, Tensor] = {}
    forms: list[tuple[nn.Module, Callable[..., Any]]] = []
    kept: set[str] = set()
    for layer in decoder_layers(model):
        forms += [(part, partial(_adapted, part, dtype, cached)) for part in layer.modules() if _is_plain(part)]
        for module in layer.children():
            exact: Callable[..., Any]
            form: Callable[..., Any]
            if hasattr(module, "variance_epsilon"):
                exact, form = partial(_normed, module, torch.float32), partial(_normed, module, dtype)
            elif hasattr(module, "q_proj") and hasattr(module, "head_dim"):
                exact = form = partial(_attended, module, rotation)
            else:
                if not hasattr(module, "gate_proj"):  # feed-forward parts gain only from their adapters
                    kept.update([type(module).__name__] if any(True for _ in module.parameters()) else [])
                continue
            if same_on_trial(module, exact, model):
                forms.append((module, form))
            else:
                kept.add(type(module).__name__)
    if kept:
        say_kept("training", ", ".join(sorted(kept)))
    return forms
