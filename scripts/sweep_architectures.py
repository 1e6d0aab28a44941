"""Probe both attentions on every decoder architecture of transformers, tiny and random; write the table into docs.

python scripts/sweep_architectures.py [NAME ...]    with names: print their rows only

Each architecture gets 3 layers of width 32 and a tokenizer of words. A row says whether the probe of ``build_model``
finds the attention that was asked for, and with which attention kernel. What cannot be built that small is listed with
the reason.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from poolwise.errors import ModelError
from poolwise.models import build_model
from poolwise.models.families import refuse_unsuitable
from poolwise.study.provenance import machine
from poolwise.upstream.transformers import attention_in_use

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "architectures.md"
WIDTH, LAYERS, HEADS, KEYS, VOCABULARY = 32, 3, 4, 2, 64
MOST_WEIGHTS = 30_000_000
_SIZES = {
    WIDTH: ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "embedding_size", "emb_dim"),
    LAYERS: ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"),
    HEADS: (
        *("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", "num_heads", "rotary_dim"),
        *("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    ),
    KEYS: (
        *("num_key_value_heads", "num_kv_heads", "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"),
        *("pad_token_id", "bos_token_id"),
    ),
    48: ("intermediate_size", "ffn_dim", "n_inner", "moe_intermediate_size", "shared_expert_intermediate_size"),
    40: ("ffn_hidden_size", "intermediate_size_mlp", "shared_intermediate_size", "decoder_ffn_dim"),
    8: ("head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank"),
    1: ("n_group", "topk_group", "num_shared_experts", "n_shared_experts", "first_k_dense_replace", "eos_token_id"),
    VOCABULARY: ("vocab_size", "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "sliding_window"),
}
_LISTS = ("layer_types", "mlp_layer_types", "attention_types", "no_rope_layers", "attention_layers")


_ENCODER = "no: the model behaves bidirectional"
"""What an encoder such as BERT shows, which transformers lists among the causal models too."""


@dataclass(frozen=True)
class Row:
    """What was found on one architecture."""

    name: str
    causal: str
    bidirectional: str
    kernel: str = ""
    note: str = ""


def tiny_config(name: str) -> Any:
    """Return the configuration of an architecture with every known size lowered."""
    config = AutoConfig.for_model(name)
    for size, keys in _SIZES.items():
        for key in keys:
            if isinstance(getattr(config, key, None), int) and not isinstance(getattr(config, key), bool):
                with contextlib.suppress(AttributeError, NotImplementedError, TypeError, ValueError):
                    setattr(config, key, size)
    unset = {
        "head_dim": WIDTH // HEADS,
        "num_key_value_heads": KEYS,
        "num_experts_per_tok": KEYS,
        "n_routed_experts": HEADS,
    }
    for key, size in unset.items():
        if getattr(config, key, 0) is None:
            setattr(config, key, size)
    if getattr(config, "kv_lora_rank", None):  # latent attention has as many keys as queries
        config.num_key_value_heads = HEADS
    for key in _LISTS:
        if isinstance(found := getattr(config, key, None), list):
            setattr(config, key, found[:LAYERS] if len(found) >= LAYERS else found * LAYERS)
    # Large weights, so that attention matters as in a trained model.
    config.initializer_range = 0.2
    config.eos_token_id = 1
    return config


def save_tiny(config: Any, folder: Path) -> None:
    """Write a random base of this configuration, with its tokenizer."""
    with torch.device("meta"):
        size = sum(weight.numel() for weight in AutoModel.from_config(config).parameters())
    if size > MOST_WEIGHTS:
        raise ValueError(f"{size:,} weights at the least size that this script sets")
    torch.manual_seed(7)
    AutoModel.from_config(config).save_pretrained(folder)
    words = {
        token: number for number, token in enumerate(["<unk>", "<eos>", "<pad>", *map(str, range(VOCABULARY - 3))])
    }
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


def probed(name: str) -> Row | None:
    """Return the row of an architecture; None for encoders, and for models of more than text."""
    try:
        config = tiny_config(name)
        if config.is_encoder_decoder or config.get_text_config() is not config:
            return None
        refuse_unsuitable(config, name)
    except ModelError as error:
        return Row(name, "refused", "refused", note=_first_line(error).split(") ", 1)[-1].split(";")[0])
    except Exception as error:
        return Row(name, "–", "–", note=f"not built: {_first_line(error)}")
    found: dict[str, str] = {}
    kernels: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        try:
            save_tiny(config, Path(place))
        except Exception as error:
            return Row(name, "–", "–", note=f"not built: {_first_line(error)}")
        for attention in ("causal", "bidirectional"):
            try:
                backbone = build_model(f"mean+{attention}", place, method="frozen", max_tokens=16, precision="fp32")[0]
            except ModelError as error:
                found[attention] = f"no: {_first_line(error).partition(' (AttentionProbe')[0]}"
                continue
            except Exception as error:
                found[attention] = f"error: {_first_line(error)}"
                continue
            found[attention] = "yes"
            kernel = "packed" if backbone.packs else attention_in_use(backbone.model.config)
            kernels.append(f"{kernel}, as sdpa ignores {attention}" if backbone.attention_kernel else kernel)
    if found["causal"] == _ENCODER:
        return None
    return Row(name, found["causal"], found["bidirectional"], "; ".join(dict.fromkeys(kernels)))


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.replace("|", "/")[:110]


def page(rows: list[Row]) -> str:
    """Return the page with the counts and the table."""
    where = machine()
    tried = [row for row in rows if row.kernel or row.causal.startswith(("no", "error"))]
    both = sum(row.causal == row.bidirectional == "yes" for row in rows)
    lines = [
        "# Architectures",
        "",
        "<!-- Made by scripts/sweep_architectures.py; edits here are lost. -->",
        "",
        f"Of {len(rows)} decoder architectures of transformers {metadata.version('transformers')}, {len(tried)} were "
        f"built tiny and probed; {both} take both attentions.",
        "Random weights, 3 layers of width 32, fp32, on a CPU. The probe is that of `build_model`, which also checks",
        "every real base. A row says nothing about quality.",
        "",
        f"`python scripts/sweep_architectures.py`, torch {metadata.version('torch')}, {where['processor']} "
        f"({where['instructions']}), {datetime.datetime.now(datetime.UTC).date().isoformat()}. The machine was shared.",
        "",
        "| architecture | causal | bidirectional | attention kernel | note |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row.name} | {row.causal} | {row.bidirectional} | {row.kernel} | {row.note} |" for row in rows]
    return "\n".join(lines) + "\n"


def main(wanted: list[str]) -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for name in wanted or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if (row := probed(name)) is not None:
            rows.append(row)
            print(row, flush=True)
    if not wanted:
        PAGE.write_text(page(rows))
        print(f"written: {PAGE}")


if __name__ == "__main__":
    main(sys.argv[1:])
