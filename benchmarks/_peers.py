"""What people use today, as plainly as they write it: stock sentence-transformers modules, hidden states stacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import AutoModel, AutoTokenizer, LlamaConfig

from poolwise.design import parse_design
from poolwise.modules.base import resolve_base
from poolwise.modules.pooling import build_pooling

MAX_TOKENS = 512


def save_base(folder: Path, size: str) -> str:
    """Write a base whose tokenizer appends EOS by itself, so that stock modules read the ids that poolwise reads.

    Args:
        size: "nano", the embedded base, or "110M", a Llama of SmolLM's shape with random weights.
    """
    nano = resolve_base("poolwise/nano")
    tokenizer = AutoTokenizer.from_pretrained(nano)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}", special_tokens=[(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)]
    )
    tokenizer.model_max_length = MAX_TOKENS
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModel.from_pretrained(nano) if size == "nano" else AutoModel.from_config(_smollm(tokenizer))
    model.float().save_pretrained(folder)
    return str(folder)


def _smollm(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


class StackedStates(nn.Module):
    """Every layer's states of every token, stacked, the last token's taken, and a head on them: the paper's code."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        stack = torch.stack(features["all_layer_embeddings"][1:], dim=1)
        last = features["attention_mask"].sum(dim=1) - 1
        features["layer_embeddings"] = stack[torch.arange(len(last)), :, last].float()
        return {**features, "sentence_embedding": self.head.pool(features)}


def stock_model(base: str, pooling: str, dtype: torch.dtype) -> SentenceTransformer:
    """Return sentence-transformers' own modules over a base: ``last`` or ``mean``, or ``multilayer`` stacked."""
    arguments = {"dtype": dtype, "attn_implementation": "sdpa"}
    transformer = Transformer(base, max_seq_length=MAX_TOKENS, model_kwargs=arguments)
    if pooling == "multilayer":
        transformer.auto_model.config.output_hidden_states = True
        with torch.random.fork_rng():
            torch.manual_seed(1)
            config = transformer.auto_model.config
            head = build_pooling(parse_design("multilayer+causal"), config.hidden_size, config.num_hidden_layers)
        return SentenceTransformer(modules=[transformer, StackedStates(head), Normalize()], device="cpu")
    mode = {"last": "lasttoken", "mean": "mean"}[pooling]
    dim = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(dim, mode), Normalize()], device="cpu")
