"""The base of a model as a plain Hugging Face folder: adapter merged, attention in the config, EOS in the tokenizer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModel, PreTrainedTokenizerFast

from poolwise.models.backbone import Backbone
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.families import EAGER
from poolwise.models.merge import merged_copy
from poolwise.models.tokens import TextTokens
from poolwise.storage.json_text import load_json
from poolwise.storage.whole_files import write_text
from poolwise.upstream.transformers import attention_in_use

_TOKENIZER_CONFIG = "tokenizer_config.json"


def backbone_of(model: EmbeddingModel) -> Backbone:
    """Return the first module of a poolwise model."""
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    return backbone


def write_plain(model: EmbeddingModel, folder: Path) -> None:
    """Write a base with its adapter merged, in fp32, and its tokenizer into a folder that ``AutoModel`` loads.

    ``config.is_causal`` holds the attention, which transformers reads from 5.2 on. The tokenizer itself puts EOS behind
    every text, after truncation, and has no chat template, which sentence-transformers would apply.
    """
    backbone = backbone_of(model)
    write_weights(backbone, folder)
    write_tokenizer(backbone, folder)


def write_weights(backbone: Backbone, folder: Path) -> None:
    """Write configuration and weights of a base, with the adapter merged and in fp32."""
    merged = merged_copy(backbone.model)
    config = copy.deepcopy(backbone.model.config)
    config.is_causal = backbone.attention_mode.ends_causal
    config.dtype = torch.float32
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):  # the weights are given below
        plain = AutoModel.from_config(config, trust_remote_code=False)
    weights = {name: weight.detach().float().cpu().contiguous() for name, weight in merged.state_dict().items()}
    plain.load_state_dict(weights, assign=True)
    plain.save_pretrained(folder)


def write_tokenizer(backbone: Backbone, folder: Path) -> None:
    """Write a tokenizer that adds what poolwise adds (BOS where the base has it, EOS), and truncates where it does."""
    known = backbone.tokenizer
    tokenizer = Tokenizer.from_str(known.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.post_processor = _framing(tokenizer, backbone.tokens)
    special = {name: known.special_tokens_map.get(name) for name in ("bos_token", "eos_token", "unk_token")}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{name: token for name, token in special.items() if token is not None},
        pad_token=tokenizer.id_to_token(backbone.tokens.pad_id),
        model_max_length=backbone.max_tokens,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=backbone.tokens.splits_special,
    ).save_pretrained(folder)
    # The class of an architecture would build the tokenizer anew and lose EOS; versions before 5 know this name only.
    set_settings(folder / _TOKENIZER_CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast"})


def special_tokens_limit(backbone: Backbone) -> str:
    """Return what the reader of an export must know of special tokens that are spelled in texts."""
    if backbone.tokens.splits_special:
        return (
            "Limit: a special token that is spelled in a text is read as its characters. Programs that read "
            "`tokenizer.json`\nalone, such as text-embeddings-inference, read it as the special token."
        )
    return "Limit: a text that itself ends with the EOS token gets a second one; poolwise drops the first."


def _framing(tokenizer: Tokenizer, tokens: TextTokens) -> processors.TemplateProcessing:
    """Return the step that puts the prefix before a text and EOS behind it, after truncation."""
    names = {number: tokenizer.id_to_token(number) for number in (*tokens.prefix, tokens.eos_id)}
    before, eos = [names[number] for number in tokens.prefix], names[tokens.eos_id]
    return processors.TemplateProcessing(
        single=[*before, "$A", eos],
        pair=[*before, "$A", eos, "$B:1", f"{eos}:1"],
        special_tokens=[(name, number) for number, name in names.items()],
    )


def kernel_of(backbone: Backbone) -> str:
    """Return the implementation of attention for an export: ``eager`` if the model needs it, else ``sdpa``.

    poolwise's own, which reads packed texts, has the same arithmetic as sdpa and exists only here.
    """
    return EAGER if attention_in_use(backbone.model.config) == EAGER else "sdpa"


def set_settings(path: Path, settings: dict[str, Any]) -> None:
    """Set keys of a JSON file."""
    write_text(path, json.dumps(load_json(path) | settings, indent=2) + "\n")


def write_settings(path: Path, settings: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
