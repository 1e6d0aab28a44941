"""A tiny Llama in a GGUF file, written with the package gguf as llama.cpp's converter writes one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quantize
from transformers import AutoModelForCausalLM, PreTrainedModel

from tiny_models import save_tiny_base, tiny_tokenizer

Q8_0, Q4_1, F32 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1, GGMLQuantizationType.F32
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """Return llama.cpp's name of a weight: ``model.layers.0.mlp.up_proj.weight`` is ``blk.0.ffn_up.weight``."""
    stem = name.removesuffix(".weight")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.weight"
    _, _, number, part = stem.split(".", 3)
    return f"blk.{number}.{_NAMES[part]}.weight"


def plain_model(folder: Path, *, is_tied: bool = False) -> PreTrainedModel:
    """Return the model that the GGUF files hold, from a Hugging Face folder that is written on the way."""
    size = len(tiny_tokenizer("gpt2"))
    settings = {"vocab_size": size, "intermediate_size": 64, "tie_word_embeddings": is_tied, "pad_token_id": 0}
    name = save_tiny_base(folder, "llama", with_head=True, **settings)
    tiny_tokenizer("gpt2").save_pretrained(name)
    return AutoModelForCausalLM.from_pretrained(name)


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    *,
    kind: GGMLQuantizationType = F32,
    architecture: str = "llama",
    values: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    extra: Mapping[str, np.ndarray] | None = None,
    has_eos: bool = True,
) -> Path:
    """Write a model and ``tiny_tokenizer("gpt2")`` into a GGUF file; matrices are quantised to ``kind``.

    Args:
        values: further metadata: numbers and texts by key.
        without: names of tensors, as in the file, that are left out; ``extra`` are added.
    """
    config, writer = model.config, GGUFWriter(path, architecture)
    writer.add_file_type(
        {F32: LlamaFileType.ALL_F32, Q8_0: LlamaFileType.MOSTLY_Q8_0, Q4_1: LlamaFileType.MOSTLY_Q4_1}[kind]
    )
    writer.add_license("mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, has_eos)
    for key, value in (values or {}).items():
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        (writer.add_string if isinstance(value, str) else add)(key, value)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = weight.numpy()
        if ".q_proj." in name or ".k_proj." in name:
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            array = _permute(array, heads)
        if gguf_name(name) not in without:
            _add(writer, gguf_name(name), array, kind)
    for name, array in (extra or {}).items():
        _add(writer, name, array, F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, name: str, array: np.ndarray, kind: GGMLQuantizationType) -> None:
    if kind is F32 or array.ndim < 2:
        writer.add_tensor(name, np.ascontiguousarray(array))
    else:
        writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)


def _permute(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Return rows in the order of llama.cpp's rotary embedding: pairs of neighbours, where transformers has halves."""
    rows, columns = weight.shape
    return weight.reshape(num_heads, 2, rows // num_heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _add_tokenizer(writer: GGUFWriter, has_eos: bool) -> None:
    tokenizer = tiny_tokenizer("gpt2")
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    special = set(tokenizer.all_special_tokens)
    tokens = sorted(core["model"]["vocab"], key=core["model"]["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in core["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    if has_eos:
        writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
