"""Facts about a model: parameter counts, hashes of its initial weights, the share of each layer in its embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from poolwise.layer_subsets import LayerSubset
from poolwise.models.pooling.layer_mean import LayerMeanPooling
from poolwise.models.pooling.layer_mix import LayerMixPooling
from poolwise.models.pooling.multilayer import MultilayerPooling


def head_parameters(model: SentenceTransformer) -> list[nn.Parameter]:
    """Return the parameters of the pooling; empty if it has none."""
    return list(model[1].parameters())


def count_trainable(model: SentenceTransformer) -> int:
    """Return the number of trainable parameters."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _hash(named: Iterable[tuple[str, Tensor]]) -> str | None:
    total, is_empty = hashlib.sha256(), True
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        is_empty = False
        total.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return None if is_empty else total.hexdigest()[:16]


def init_hashes(model: SentenceTransformer) -> dict[str, str]:
    """Return hashes of the current parameters: "base", and "lora_init" and "head_init" if they exist.

    Law: "base" and "lora_init" are equal for all designs built with one base and one seed.
    """
    backbone = list(model[0].model.named_parameters())
    parts = {
        "base": [(name.replace(".base_layer", ""), w) for name, w in backbone if "lora_" not in name],
        "lora_init": [(name, w) for name, w in backbone if "lora_" in name],
    }
    hashes = {part: digest for part, named in parts.items() if (digest := _hash(named)) is not None}
    return hashes | head_hash(model)


def head_hash(model: SentenceTransformer) -> dict[str, str]:
    """Return {"head_init": hash of the pooling's current parameters}; empty if it has none."""
    digest = _hash(model[1].named_parameters())
    return {} if digest is None else {"head_init": digest}


def layer_weights(model: SentenceTransformer, texts: Sequence[str]) -> list[float] | None:
    """Return the share of each layer 1 .. L in the embeddings of ``texts``; None if no layers are pooled.

    Shares sum to 1; layers that the design does not use have share 0. For ``multilayer`` the share is the attention,
    averaged over latents, heads and texts.
    """
    pooling = model[1]
    if not isinstance(pooling, LayerMeanPooling | LayerMixPooling | MultilayerPooling):
        return None
    numbers = LayerSubset(pooling.subset).numbers(model[0].num_layers)
    if isinstance(pooling, LayerMeanPooling):
        shares = [1 / len(numbers)] * len(numbers)
    elif isinstance(pooling, LayerMixPooling):
        shares = pooling.weights().tolist()
    else:
        shares = _attention_share(model, pooling, texts)
    by_layer = dict(zip(numbers, shares, strict=True))
    return [by_layer.get(number, 0.0) for number in range(1, model[0].num_layers + 1)]


@torch.no_grad()
def _attention_share(
    model: SentenceTransformer, pooling: MultilayerPooling, texts: Sequence[str], batch_size: int = 32
) -> list[float]:
    was_training = model.training
    model.eval()
    total: Tensor | float = 0.0
    for start in range(0, len(texts), batch_size):
        features = model.preprocess(list(texts[start : start + batch_size]))
        placed = {name: value.to(model.device) for name, value in features.items()}
        total += pooling.layer_weights(model[0](placed)).sum(dim=0).double().cpu()
    model.train(was_training)
    assert isinstance(total, Tensor), "a training set has texts"
    return (total / total.sum()).tolist()
