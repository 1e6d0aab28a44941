"""Llama-style decoder layers for encoding: the same arithmetic in fewer passes over memory.

On a CPU the norms, the rotary embedding and the gate of such a layer take longer than its matrix products, because
every elementwise step writes a tensor and reads it again. Here one product computes q, k and v, the rotation is one
complex product in place, and gate and activation work in place. A module is replaced only if its replacement gives the
same output on a trial input. Other architectures keep their own modules, and a warning says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Complex64, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from poolwise.kernels.layers import decoder_layers
from poolwise.kernels.masks import has_mark, set_mark
from poolwise.kernels.narrow import widened
from poolwise.kernels.packing import Packing, last_attention, pack_batch, packed_attention

logger = logging.getLogger(__name__)

_SAME = 1e-4
"""Largest accepted difference on the trial input, relative to the largest value, in fp32."""


class FusedNorm(nn.Module):
    """RMSNorm in few passes over memory, computed in the weight's dtype and returned in the dtype ``result``."""

    def __init__(self, weight: Float[Tensor, " D"], eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight.detach().clone(), requires_grad=False), eps
        self.result = weight.dtype

    def forward(self, states: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Return the states divided by their root mean square, times the weight."""
        if states.is_cuda:  # a single kernel on CUDA
            return functional.rms_norm(states, self.weight.shape, self.weight, self.eps).to(self.result)
        norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(states.shape[-1]).add_(self.eps).rsqrt_()
        return (states * scale).mul_(self.weight).to(self.result)


class FusedGate(nn.Module):
    """down(silu(gate x) * up x); the product overwrites the gate."""

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = _linears(source, "gate_proj", "up_proj", "down_proj")

    def forward(self, states: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Return the output of a layer's feed-forward part."""
        gate = functional.silu(self.gate_proj(states), inplace=True)
        result: Tensor = self.down_proj(gate.mul_(self.up_proj(states)))
        return result


class Rotation:
    """The rotary factors of a forward pass as complex numbers, computed once for all layers."""

    def __init__(self) -> None:
        self._source: Tensor | None = None
        self._factors: Tensor | None = None

    def factors(self, cos: Float[Tensor, "B T E"], sin: Float[Tensor, "B T E"]) -> Complex64[Tensor, "B T 1 F"]:
        """Return cos + i sin of the first half of E; the second half repeats the first."""
        if self._source is not cos or self._factors is None:
            half = cos.shape[-1] // 2
            self._source = cos
            self._factors = torch.complex(cos[..., :half].float(), sin[..., :half].float())[:, :, None]
        return self._factors


class FusedAttention(nn.Module):
    """Llama-style attention with one product for q, k and v; the two halves of a rotation are interleaved."""

    def __init__(self, source: nn.Module, rotation: Rotation) -> None:
        super().__init__()
        plain: Any = source  # each architecture has its own class, with the same attributes used here
        self.config, self.rotation = plain.config, rotation
        self.scaling: float = plain.scaling
        self.width: int = plain.head_dim
        self.num_key_value_groups: int = plain.num_key_value_groups
        set_mark(self, has_mark(source))
        query, key, value, self.out = _linears(source, "q_proj", "k_proj", "v_proj", "o_proj")
        self.num_heads, self.num_keys = query.out_features // self.width, key.out_features // self.width
        self.joint = _joined([_interleaved(query, self.width), _interleaved(key, self.width), value])
        norms = [getattr(source, name, None) for name in ("q_norm", "k_norm")]
        pairs = _pairs(self.width)
        self.norms = nn.ModuleList(FusedNorm(norm.weight[pairs], _eps(norm)) for norm in norms if norm is not None)

    def forward(
        self,
        hidden_states: Float[Tensor, "B T D"],
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        packing: Packing | None = None,
        **_kwargs: Any,
    ) -> tuple[Float[Tensor, "B T D"], None]:
        """Return the output of a layer's attention; the keywords are those that transformers passes."""
        joint = self.joint(hidden_states).unflatten(-1, (-1, self.width))
        turned, value = joint.split([self.num_heads + self.num_keys, self.num_keys], dim=2)
        if len(self.norms):
            parts = turned.split([self.num_heads, self.num_keys], dim=2)
            turned = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], dim=2)
        turned = _rotated(turned, self.rotation.factors(*position_embeddings))
        query, key = turned.split([self.num_heads, self.num_keys], dim=2)
        states, _ = packed_attention(
            self,
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attention_mask,
            packing=packing,
            scaling=self.scaling,
        )
        return self.out(states.flatten(2)), None

    def attend_last(
        self,
        hidden_states: Float[Tensor, "1 N D"],
        position_embeddings: tuple[Tensor, Tensor],
        packing: Packing,
    ) -> Float[Tensor, "1 M D"]:
        """Return the output of a layer's attention for ``packing.last_rows`` only."""
        of_query = slice(self.num_heads * self.width)
        of_others = slice(of_query.stop, None)
        query = self._part(hidden_states[:, packing.last_rows], of_query)
        key, value = self._part(hidden_states, of_others).chunk(2, dim=2)
        if len(self.norms):
            query, key = self.norms[0](query), self.norms[1](key)
        factors = self.rotation.factors(*position_embeddings)
        query, key = _rotated(query, factors[:, packing.last_rows]), _rotated(key, factors)
        states = last_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), packing, self.scaling
        )
        result: Tensor = self.out(states.flatten(2))
        return result

    def _part(self, states: Float[Tensor, "1 M D"], rows: slice) -> Float[Tensor, "1 M H E"]:
        bias = None if self.joint.bias is None else self.joint.bias[rows]
        return functional.linear(states, self.joint.weight[rows], bias).unflatten(-1, (-1, self.width))


def _rotated(states: Float[Tensor, "B T H E"], factors: Complex64[Tensor, "B T 1 F"]) -> Float[Tensor, "B T H E"]:
    pairs = torch.view_as_complex(states.float().contiguous().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * factors).flatten(-2).to(states.dtype)


def _pairs(width: int) -> list[int]:
    """Return 0, w/2, 1, w/2 + 1 ...: transformers rotates i with i + w/2; a complex number needs them adjacent.

    q and k are reordered in the same way, so their products do not change.
    """
    return [place for i in range(width // 2) for place in (i, i + width // 2)]


def _interleaved(linear: nn.Linear, width: int) -> nn.Linear:
    rows = torch.arange(linear.out_features).unflatten(0, (-1, width))[:, _pairs(width)].flatten()
    return _linear(linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def _joined(parts: list[nn.Linear]) -> nn.Linear:
    biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
    if biases and len(biases) < len(parts):
        raise ValueError("some of q, k and v have a bias and some have none")
    return _linear(torch.cat([part.weight for part in parts]), torch.cat(biases) if biases else None)


def _linear(weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear


def _linears(source: nn.Module, *names: str) -> list[nn.Linear]:
    found = [getattr(source, name) for name in names]
    if other := [part for part in found if type(part) is not nn.Linear]:
        raise ValueError(f"{type(other[0]).__name__} in place of a linear layer")
    return found


def _eps(norm: nn.Module) -> float:
    return float(norm.variance_epsilon)  # type: ignore[arg-type]


@torch.no_grad()
def fuse_layers(model: PreTrainedModel) -> int:
    """Replace a model's modules that have a fused form, in place; return how many were replaced.

    The model must be in evaluation mode with merged adapters. In fp32 the results are the same up to rounding.
    """
    rotation, count = Rotation(), 0
    kept: set[str] = set()
    for layer in decoder_layers(model):
        for name, module in list(layer.named_children()):
            fused = _attempt(module, rotation, model)
            if fused is not None:
                setattr(layer, name, fused)
                count += 1
            elif any(True for _ in module.parameters()):
                kept.add(type(module).__name__)
    if kept:
        say_kept("encoding", ", ".join(sorted(kept)))
    return count


@cache  # once per process: a study prepares many models of one base
def say_kept(work: str, names: str) -> None:
    """Warn that some modules of a base have no faster form, or that theirs failed its trial."""
    logger.warning("%s is slower: no fused form for %s; the results are the same", work, names)


def module_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype of a module's weights."""
    return next(module.parameters()).dtype


def _attempt(module: nn.Module, rotation: Rotation, model: PreTrainedModel) -> nn.Module | None:
    """Return the fused form of a module, or None if it has none or the trial gives other values."""
    forms: dict[str, Callable[[], nn.Module]] = {
        "variance_epsilon": lambda: FusedNorm(cast(Tensor, module.weight), _eps(module)),
        "gate_proj": lambda: FusedGate(module),
        "q_proj": lambda: FusedAttention(module, rotation),
    }
    build = next((build for name, build in forms.items() if hasattr(module, name)), None)
    if build is None:
        return None
    try:
        fused = build().eval()
    except _UNLIKE:
        return None
    return fused if same_on_trial(module, fused, model) else None


NUM_TRIAL_TEXTS = 2

_UNLIKE = (AttributeError, TypeError, ValueError, RuntimeError, IndexError)
"""Errors raised when an architecture names or shapes its parts differently; its modules are then kept."""


@torch.no_grad()
def same_on_trial(module: nn.Module, form: Callable[..., Any], model: PreTrainedModel) -> bool:
    """Return whether ``form`` gives the same output as ``module`` (attention, norm or gate).

    Narrow weights are compared in fp32, in which a difference is not lost in rounding. Quantised modules never pass.
    """
    if not all(weight.is_floating_point() for weight in module.parameters()):
        return False
    with widened(module, *([form] if isinstance(form, nn.Module) else [])):
        return _agree(module, form, model)


def _agree(module: nn.Module, form: Callable[..., Any], model: PreTrainedModel) -> bool:
    states, arguments = two_texts(model, module_dtype(module))

    def trial(form: Callable[..., Any]) -> Tensor:
        result: Tensor = form(hidden_states=states, **arguments())[0] if hasattr(module, "q_proj") else form(states)
        return result

    was_training = module.training
    module.eval()
    try:
        return is_same(trial(form), trial(module))
    except _UNLIKE:
        return False
    finally:
        module.train(was_training)


def two_texts(
    model: PreTrainedModel, dtype: torch.dtype
) -> tuple[Float[Tensor, "1 7 D"], Callable[..., dict[str, Any]]]:
    """Return a trial input and a function that returns a layer's arguments for it.

    The input is two packed texts of unequal length, so positions and packing both matter. The function takes the
    options of ``pack_batch``.
    """
    states = torch.randn(1, 7, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    states = states.to(model.device, dtype)

    def arguments(**options: Any) -> dict[str, Any]:
        mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], device=states.device).bool()
        packing = pack_batch(mask, **options)
        return {
            "position_embeddings": model.rotary_emb(states, packing.positions[None]),
            "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=states.device),
            "packing": packing,
            "use_cache": False,
        }

    return states, arguments


def is_same(found: Tensor, wanted: Tensor) -> bool:
    """Return whether two results are equal up to rounding."""
    return bool((wanted - found).abs().max() <= _SAME * wanted.abs().max())
