"""Tiny embedding models for the doctor's tests: sound ones, and folders and modules with one fault each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers.processors import TemplateProcessing

from tiny_models import HIDDEN, save_tiny_base, tiny_tokenizer

POSITIONS = 1024
"""A tokenizer of single bytes needs many for a document of eight sentences."""


def save_base(folder: Path, family: str, *, has_eos: bool = True, **settings: Any) -> str:
    """Write a tiny base whose tokenizer knows every byte, so that all texts have different ids."""
    tokenizer = tiny_tokenizer("gpt2" if family in ("gpt2", "qwen3") else "gpt_neox")
    bos = [] if family in ("gpt2", "qwen3") else ["<bos>"]
    if bos or has_eos:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[*bos, "$A", *(["<eos>"] if has_eos else [])], special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
    changes = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    save_tiny_base(folder, family, **changes, pad_token_id=tokenizer.pad_token_id, **settings)
    tokenizer.save_pretrained(folder)
    return str(folder)


def stock(base: str, *modules: torch.nn.Module) -> SentenceTransformer:
    """Return a model of sentence-transformers' modules over a base; mean pooling and Normalize unless given."""
    transformer = Transformer(base, max_seq_length=POSITIONS)
    return SentenceTransformer(
        modules=[transformer, *(modules or [Pooling(HIDDEN, "mean"), Normalize()])], device="cpu"
    )


def save_stock(folder: Path, base: str, mode: str = "mean") -> Path:
    """Write a sound model of sentence-transformers' modules."""
    stock(base, Pooling(HIDDEN, mode), Normalize()).save(str(folder))
    return folder


def change(path: Path, **values: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    stored = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in stored.items() if value is not None}))
