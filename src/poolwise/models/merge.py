"""A trained model made ready for encoding: the same function in fewer operations."""

from __future__ import annotations

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from sentence_transformers import SentenceTransformer
from torch import nn

from poolwise.kernels.final_layer import trim_final_layer
from poolwise.kernels.fused import FusedNorm, fuse_layers
from poolwise.kernels.packed_linear import pack_linears
from poolwise.kernels.precision import uses_bf16
from poolwise.models.backbone import Backbone
from poolwise.models.pooling.base import Pooling


def prepare_encoding(model: SentenceTransformer) -> SentenceTransformer:
    """Make one of our models, in place, quick to encode with; it cannot be trained or saved any more after that.

    Adapters are folded into the weights they adapt, and what of the layers has a fused form is exchanged for it. Under
    bf16 autocast the linear layers of the backbone then keep their weights in bf16, which autocast would otherwise
    round to anew in every forward, and on a processor in the order in which they are multiplied.

    Law: in fp32 the embeddings move by a rounding; in bf16 by less than bf16 moves them from fp32.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    model.requires_grad_(False)
    merge_adapters(backbone)
    fuse_layers(backbone.model)
    if reads_last_only(model):
        trim_final_layer(backbone.model)
    if uses_bf16(backbone.precision, model.device):
        for module in backbone.model.modules():
            if type(module) is nn.Linear:
                module.to(torch.bfloat16)
            elif isinstance(module, FusedNorm):
                module.result = torch.bfloat16
        if model.device.type == "cpu":
            pack_linears(backbone.model)
    return model.eval()


def reads_last_only(model: SentenceTransformer) -> bool:
    """Return whether nothing but the last token of a text, in one layer or in all, makes its vector."""
    backbone, pooling = model[0], model[1]
    return isinstance(pooling, Pooling) and (backbone.layer_tokens or pooling.tokens_read) == "last"


def merge_adapters(model: nn.Module) -> int:
    """Fold every adapter of a model into the layer it adapts, which takes its place; return how many there were."""
    count = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
                count += 1
    return count
