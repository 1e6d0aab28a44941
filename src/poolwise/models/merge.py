"""A trained model made ready for encoding: the same function in fewer operations."""

from __future__ import annotations

import copy

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


def prepare_encoding(model: SentenceTransformer) -> SentenceTransformer:
    """Make one of our models, in place, quick to encode with; it cannot be trained or saved any more after that.

    For jobs that load a model, encode with it and drop it: ``model.encode`` keeps a copy instead.

    Adapters are folded into the weights they adapt, and what of the layers has a fused form is exchanged for it. Under
    bf16 autocast the linear layers of the backbone then keep their weights in bf16, which autocast would otherwise
    round to anew in every forward, and on a processor in the order in which they are multiplied.

    Law: in fp32 the embeddings move by a rounding; in bf16 by less than bf16 moves them from fp32.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    _prepare(model)
    backbone.is_prepared = True
    return model.eval()


def encoding_copy(model: SentenceTransformer) -> nn.Sequential:
    """Return a model's modules ready for encoding, as ``prepare_encoding`` makes them; the model stays as it is.

    Weights that no step changes are shared with the model: all of a full fp32 model but q, k and v, whose product is
    one here. Adapted weights are copied, since the adapter is folded into them.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    modules = nn.Sequential(*model.children())
    own = {id(weight) for layer in modules.modules() if _is_active(layer) for weight in _adapted(layer)}
    shared: dict[int, object] = {id(part): part for part in (backbone.tokenizer, backbone.tokens)}
    # Parameters of their own over the same memory: what casts or exchanges one of them leaves the model's alone.
    shared |= {id(w): nn.Parameter(w.detach(), False) for w in modules.parameters() if id(w) not in own}
    shared |= {id(buffer): buffer.detach() for buffer in modules.buffers()}
    copied = copy.deepcopy(modules, shared)
    _prepare(copied)
    return copied.eval()


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
    """Return whether nothing but the last token of a text, in one layer or in all, makes its vector."""
    backbone, pooling = modules[0], modules[1]
    if not (isinstance(backbone, Backbone) and isinstance(pooling, Pooling)):
        return False
    return (backbone.layer_tokens or pooling.tokens_read) == "last"


def _is_active(layer: nn.Module) -> bool:
    return isinstance(layer, BaseTunerLayer) and not layer.disable_adapters and not layer.merged


def _adapted(layer: nn.Module) -> list[Tensor]:
    assert isinstance(layer, BaseTunerLayer)
    return list(layer.get_base_layer().parameters())


def merge_adapters(model: nn.Module) -> int:
    """Fold every adapter of a model into the layer it adapts, which takes its place; return how many there were.

    Adapters that are switched off are left out, as a forward leaves them out.
    """
    count = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer):
                if _is_active(layer):
                    layer.merge()
                elif layer.disable_adapters and layer.merged:
                    layer.unmerge()
                setattr(parent, name, layer.get_base_layer())
                count += 1
    return count
