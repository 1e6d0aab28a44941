"""The heads of arXiv:2409.02727 as its code saves them (``attn_pool.pt``), mapped to ``latent`` and ``multilayer``.

The equations are those of ``cross_attention``; only names differ, and keys and values are one matrix there. In the
multi-layer designs the layers' states enter as they are, which is ``input=raw`` here. The number of heads is not in
the file: it is the paper's, 32, unless the design gives another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from poolwise.design import Design, OptionValue
from poolwise.errors import ConfigError, ModelError, collect
from poolwise.models.pooling import Pooling, build_pooling
from poolwise.models.pooling.cross_attention import PAPER_SIZE

_ATTENTION, _FF = "cross_attend_blocks.0", "cross_attend_blocks.1"
_NAMES = {
    "latents": "head.latents",
    f"{_ATTENTION}.norm.weight": "head.norm_states.weight",
    f"{_ATTENTION}.norm.bias": "head.norm_states.bias",
    f"{_ATTENTION}.norm_context.weight": "head.norm_latents.weight",
    f"{_ATTENTION}.norm_context.bias": "head.norm_latents.bias",
    f"{_ATTENTION}.fn.to_q.weight": "head.to_query.weight",
    f"{_ATTENTION}.fn.to_out.weight": "head.to_out.weight",
    f"{_FF}.norm.weight": "head.norm_ff.weight",
    f"{_FF}.norm.bias": "head.norm_ff.bias",
    f"{_FF}.fn.net.0.weight": "head.ff_in.weight",
    f"{_FF}.fn.net.0.bias": "head.ff_in.bias",
    f"{_FF}.fn.net.2.weight": "head.ff_out.weight",
    f"{_FF}.fn.net.2.bias": "head.ff_out.bias",
}
_KEYS_AND_VALUES = f"{_ATTENTION}.fn.to_kv.weight"
_LAYERS = "pos_emb.weight"
_TRAINED = ("latent", "multilayer")


def has_head(design: Design) -> bool:
    """Return whether a design of the paper has a trained head.

    Raises: ConfigError for a pooling that the paper does not have.
    """
    if design.pooling not in ("last", *_TRAINED):
        raise ConfigError(f"design {design} is none of the paper's", "wanted paper:1 to paper:5")
    return design.pooling in _TRAINED


def sized(design: Design, weights: Mapping[str, Tensor]) -> Design:
    """Return the design with the sizes that the weights have, and the paper's treatment of the layers.

    Raises: ModelError if the weights do not say these sizes.
    """
    latents, query = weights.get("latents"), weights.get(f"{_ATTENTION}.fn.to_q.weight")
    if latents is None or query is None or latents.ndim != 2 or query.ndim != 2:
        raise ModelError(
            f"the head has {', '.join(sorted(weights)[:4])} ...",
            f"wanted latents and {_ATTENTION}.fn.to_q.weight, the layout of the paper's code",
        )
    given = dict(design.options)
    inner = query.shape[0]
    heads = int(given.get("heads") or PAPER_SIZE.heads)
    if "heads" not in given and inner != PAPER_SIZE.inner:
        raise ModelError(
            f"the head's attention is {inner} wide, the paper's is {PAPER_SIZE.inner}",
            "wanted the number of heads, which the weights do not say",
            "give it in the design, such as 'multilayer(heads=8)+bidirectional'",
        )
    if inner % heads:
        raise ModelError(f"heads={heads} does not divide {inner}, the width of the head's attention")
    sizes: dict[str, OptionValue] = {
        "latents": latents.shape[0],
        "heads": heads,
        "head_dim": inner // heads,
        "init": "random",
    }
    sizes |= {"input": "raw"} if design.pooling == "multilayer" else {}
    kept = {name: value for name, value in given.items() if name not in (*sizes, "size")}
    return replace(design, options=tuple((kept | sizes).items()))


def build_head(design: Design, weights: Mapping[str, Tensor], dim: int, num_layers: int) -> tuple[Pooling, list[str]]:
    """Return the pooling of a design with the paper's trained weights, and notes on what was left out.

    Args:
        design: as ``sized`` returns it.
        dim: hidden size of the base.
        num_layers: number of its decoder layers.
    Raises: ModelError that lists missing and unexpected weights and those of another shape.
    """
    with torch.device("meta"):  # a billion parameters that would be drawn and then replaced
        pooling = build_pooling(design, dim, num_layers)
    wanted = {name: tuple(tensor.shape) for name, tensor in pooling.state_dict().items()}
    mapped, problems = _mapped(design, weights)
    notes = []
    if (layers := mapped.get("layers")) is not None and layers.ndim == 2 and len(layers) > num_layers:
        # Their embedding always has 32 rows; they read the first num_layers.
        notes.append(f"{len(layers) - num_layers} layer embeddings beyond the {num_layers} layers are never read")
        mapped["layers"] = layers[:num_layers]
    for name, shape in wanted.items():
        if name not in mapped:
            continue
        if tuple(mapped[name].shape) != shape:
            problems.append(f"{_theirs(name)} is {tuple(mapped[name].shape)}; wanted {shape} on this base")
    problems += [f"{_theirs(name)} is missing" for name in wanted if name not in mapped]
    collect(problems, ModelError, f"the head does not fit {design}", "give the base and the design it was trained with")
    pooling.load_state_dict({name: mapped[name].to(torch.float32, copy=True) for name in wanted}, assign=True)
    return pooling, notes


def _mapped(design: Design, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    found: dict[str, Tensor] = {}
    problems = []
    for name, tensor in weights.items():
        if name == _KEYS_AND_VALUES and len(tensor) % 2 == 0:
            found["head.to_key.weight"], found["head.to_value.weight"] = tensor.chunk(2)
        elif name == _LAYERS and design.pooling == "multilayer":
            found["layers"] = tensor
        elif name in _NAMES:
            found[_NAMES[name]] = tensor
        else:
            problems.append(f"{name} {tuple(tensor.shape)} has no place in {design.pooling}")
    return found, problems


def _theirs(name: str) -> str:
    """Return the name of one of our weights in the paper's file."""
    if name in ("head.to_key.weight", "head.to_value.weight"):
        return f"{_KEYS_AND_VALUES} ({'first' if 'key' in name else 'second'} half)"
    names = {ours: theirs for theirs, ours in _NAMES.items()} | {"layers": _LAYERS}
    return names.get(name, name)
