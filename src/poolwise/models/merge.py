"""Preparation of a trained model for encoding: same embeddings, fewer operations."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from poolwise.kernels.final_layer import trim_final_layer
from poolwise.kernels.fused import FusedNorm, fuse_layers
from poolwise.kernels.packed_linear import pack_linears
from poolwise.kernels.precision import uses_bf16
from poolwise.models.backbone import Backbone
from poolwise.models.pooling.base import Pooling

M = TypeVar("M", bound=nn.Module)


def prepare_encoding(model: SentenceTransformer) -> SentenceTransformer:
    """Prepare a poolwise model for fast encoding, in place; it cannot be trained or saved any more afterwards.

    This is for jobs that load a model, encode and drop it; ``model.encode`` prepares a copy instead.

    Adapters are merged, except those of 4-bit layers, because the sum would be rounded to 4 bits. Modules that have a
    fused form are replaced by it. In bf16, linear layers of the backbone keep their weights in bf16, so autocast need
    not cast them in every forward; on a CPU they are also stored in the memory layout of the product.

    Law: in fp32 the embeddings change only by rounding; in bf16 by less than bf16 and fp32 differ.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    _prepare(model)
    backbone.is_prepared = True
    return model.eval()


def encoding_copy(model: SentenceTransformer) -> nn.Sequential:
    """Return a copy of a model's modules, prepared as by ``prepare_encoding``; the model is not changed.

    The copy shares all weights that need no change: in a full fp32 model all but q, k and v, which are joined into one
    product. Adapted weights are copied, because the adapter is merged into them.
    """
    copied: nn.Sequential = _sharing_copy(nn.Sequential(*model.children()))
    _prepare(copied)
    return copied.eval()


def merged_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model in fp32 with its adapters merged; it shares fp32 weights without one.

    Law: the model is not changed, and the sum of a weight and its adapter is not rounded to the dtype of the weight.
    """
    copied = _sharing_copy(model).float()
    merge_adapters(copied)
    return copied.eval()


def _sharing_copy(modules: M) -> M:
    own = {id(weight) for layer in modules.modules() if _is_active(layer) for weight in _adapted(layer)}
    backbones = [module for module in modules.modules() if isinstance(module, Backbone)]
    shared: dict[int, object] = {id(part): part for one in backbones for part in (one.tokenizer, one.tokens)}
    # New parameters over the same memory: casting or replacing one of them does not change the model's.
    # Quantised weights are shared as they are: they have a state of their own and are never changed.
    shared |= {
        id(w): nn.Parameter(w.detach(), False) if w.is_floating_point() else w
        for w in modules.parameters()
        if id(w) not in own
    }
    shared |= {id(buffer): buffer.detach() for buffer in modules.buffers()}
    return copy.deepcopy(modules, shared)


def _prepare(modules: nn.Sequential) -> None:
    backbone: Backbone = modules[0]  # type: ignore[assignment]
    device = backbone.model.device
    modules.requires_grad_(False)
    merge_adapters(backbone)
    fuse_layers(backbone.model)
    if reads_last_only(modules):
        trim_final_layer(backbone.model)
    backbone.keep_layers()
    if uses_bf16(backbone.precision, device):
        for module in backbone.model.modules():
            if type(module) is nn.Linear:
                module.to(torch.bfloat16)
            elif isinstance(module, FusedNorm):
                module.result = torch.bfloat16
        if device.type == "cpu":
            pack_linears(backbone.model)


def reads_last_only(modules: nn.Sequential) -> bool:
    """Return whether an embedding depends only on the text's last token, in one layer or in all."""
    backbone, pooling = modules[0], modules[1]
    if not (isinstance(backbone, Backbone) and isinstance(pooling, Pooling)):
        return False
    return (backbone.layer_tokens or pooling.tokens_read) == "last"


def _is_active(layer: nn.Module) -> bool:
    return (
        isinstance(layer, BaseTunerLayer)
        and not layer.disable_adapters
        and not layer.merged
        and not _is_quantised(layer.get_base_layer())
    )


def _is_quantised(layer: nn.Module) -> bool:
    return not all(weight.is_floating_point() for weight in layer.parameters())


def _adapted(layer: nn.Module) -> list[Tensor]:
    assert isinstance(layer, BaseTunerLayer)
    return list(layer.get_base_layer().parameters())


def merge_adapters(model: nn.Module) -> int:
    """Replace every adapted layer of a model with its base layer, adapter merged; return how many there were.

    Adapters that are switched off are not merged, because a forward ignores them too. Quantised layers keep theirs.
    Weights in bf16 are added to in fp32 and rounded once, one layer at a time.
    """
    count = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer) and not _is_quantised(layer.get_base_layer()):
                if _is_active(layer):
                    layer.merge()
                elif layer.disable_adapters and layer.merged:
                    layer.unmerge()
                setattr(parent, name, layer.get_base_layer())
                count += 1
    return count
