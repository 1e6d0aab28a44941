"""The fingerprint of a model as it encodes: weights, tokenizer, attention, pooling, prompt, length and precision."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from poolwise.corpus.manifest import ModelFingerprint
from poolwise.errors import ConfigError, nearest
from poolwise.kernels.precision import uses_bf16
from poolwise.models.attention import probe_attention
from poolwise.models.backbone import Backbone
from poolwise.storage.fingerprints import LENGTH, fingerprint

DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names of the prompt that ``encode_document`` of sentence-transformers looks for, in its order."""


def document_prompt(model: SentenceTransformer, prompt: str | None, prompt_name: str | None) -> str:
    """Return the prompt of documents: the one given, that of the given name, or what ``encode_document`` would use.

    Raises: ConfigError for a name that the model has not, or where both are given.
    """
    if prompt is not None and prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name are both given", "wanted one of them")
    if prompt is not None:
        return prompt
    named = dict(model.prompts or {})
    if prompt_name is not None:
        if prompt_name not in named:
            hint = nearest(prompt_name, named) if named else "the model has no prompts: give --prompt TEXT"
            raise ConfigError(f"--prompt-name {prompt_name}", "wanted a prompt of the model", hint)
        return str(named[prompt_name])
    names = [*DOCUMENT_PROMPTS, model.default_prompt_name]
    return str(next((named[name] for name in names if name in named), ""))


def query_prompt(model: SentenceTransformer) -> str:
    """Return the prompt that ``encode_query`` puts before a text."""
    named = dict(model.prompts or {})
    return str(named.get("query", named.get(model.default_prompt_name or "", "")))


def fingerprint_model(model: SentenceTransformer, name: str, prompt: str) -> ModelFingerprint:
    """Return the fingerprint of a model, before it is prepared for encoding in place."""
    backbone = model[0]
    is_ours = isinstance(backbone, Backbone)
    return ModelFingerprint(
        name=name,
        weights=_hash_weights(model),
        tokenizer=_hash_tokenizer(model.tokenizer),
        attention=str(backbone.attention) if is_ours else _probed(model),
        pooling=str(backbone.design).partition("+")[0] if is_ours else fingerprint(_settings(model)),
        prompt=prompt,
        max_tokens=model.max_seq_length,
        precision=_precision(model),
    )


def _hash_weights(model: SentenceTransformer) -> str:
    """Return a hash of all weights by name; the dtype in which they are held does not matter, only their values."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weight = value.detach().float() if value.is_floating_point() else value.detach()
        digest.update(f"{name}:{tuple(weight.shape)}:".encode())
        digest.update(weight.contiguous().view(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()[:LENGTH]


def _hash_tokenizer(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        return fingerprint(sorted(tokenizer.get_vocab().items()))
    split = {"split_special_tokens": True} if getattr(tokenizer, "split_special_tokens", False) else {}
    # The last call's truncation and padding are part of its state.
    return fingerprint({**json.loads(backend.to_str()), "truncation": None, "padding": None, **split})


def _probed(model: SentenceTransformer) -> str:
    if not isinstance(model[0], Transformer):
        return "none"
    return probe_attention(model).attention


def _settings(model: SentenceTransformer) -> list[object]:
    """Return the kinds and settings of a model's modules after the first."""
    return [
        [type(module).__name__, json.loads(json.dumps(getattr(module, "get_config_dict", dict)(), default=str))]
        for module in list(model)[1:]
    ]


def _precision(model: SentenceTransformer) -> str:
    backbone = model[0]
    if isinstance(backbone, Backbone):
        return "bf16" if uses_bf16(backbone.precision, backbone.model.device) else "fp32"
    dtypes = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    return "+".join(sorted({torch.float32: "fp32", torch.bfloat16: "bf16"}.get(d, str(d)) for d in dtypes))
