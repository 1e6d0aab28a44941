"""Models whose adapters, heads and norms are not at their start, so that an export that loses one of them differs."""

from __future__ import annotations

from typing import Any

from poolwise.models import EmbeddingModel
from support import load_script

_table = load_script("export_table")
PROMPTS: dict[str, str] = _table.PROMPTS


def moved_model(design: str, base: str, **settings: Any) -> EmbeddingModel:
    """Return a model in evaluation mode whose trained parameters were all moved from where they start."""
    return _table.moved_model(design, base, **{"max_tokens": 24} | settings)
