"""sentence-transformers' own encoding loop over the modules of a model: the reference implementation of ``encode``."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer


def plain_model(model: SentenceTransformer) -> SentenceTransformer:
    """Return a plain ``SentenceTransformer`` over the very modules of a model."""
    return SentenceTransformer(
        modules=list(model.children()),
        prompts=dict(model.prompts),
        default_prompt_name=model.default_prompt_name,
        truncate_dim=model.truncate_dim,
    )


def stock_encode(model: SentenceTransformer, *args: Any, **kwargs: Any) -> Any:
    """Return what sentence-transformers' loop gives for a model's modules; their training mode stays as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        return plain_model(model).encode(*args, **kwargs)
    finally:
        for module, was_training in modes:
            module.training = was_training
