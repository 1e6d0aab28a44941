"""Reranking: a cross-encoder reads the query together with each candidate's text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from poolwise.errors import ModelError, one_line
from poolwise.hub import hub_access

RERANK_DEPTH = 50
"""Candidates that are read; k if that is more."""


class Reranker(Protocol):
    """A cross-encoder, as sentence-transformers has it."""

    def predict(self, inputs: Sequence[tuple[str, str]], **options: Any) -> Any:
        """Return one score per pair of query and text; higher is better."""
        ...


def load_reranker(name: str, device: str | None = None) -> Reranker:
    """Return a cross-encoder of sentence-transformers by the name of its folder or its hub id.

    Raises: ModelError where it cannot be loaded, or gives more than one number per pair.
    """
    from sentence_transformers import CrossEncoder

    from poolwise.kernels.devices import require_device
    from poolwise.models.custom_code import refuse_custom_code

    require_device(device)
    if (name.startswith((".", "/", "~")) or Path(name).suffix) and not Path(name).expanduser().exists():
        raise ModelError(f"cross-encoder {name} does not exist", hint="give its folder or a hub id")
    refuse_custom_code(name)
    try:
        with nullcontext() if Path(name).is_dir() else hub_access():
            model = CrossEncoder(str(Path(name).expanduser()), device=device, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"cannot load {name} as a cross-encoder: {one_line(error)}",
            "wanted a folder or a hub id that can be reached",
        ) from error
    if (count := model.config.num_labels) != 1:
        raise ModelError(f"cross-encoder {name} gives {count} numbers per pair", "wanted one: how well a text answers")
    return model


def sort_texts(reranker: Reranker, query: str, texts: Sequence[str]) -> tuple[list[int], Float[np.ndarray, " n"]]:
    """Return the order of texts for a query, best first, and their scores in that order.

    Raises: ModelError for a score that is not finite.
    """
    if not texts:
        return [], np.empty(0, np.float32)
    scores = np.asarray(
        reranker.predict([(query, text) for text in texts], show_progress_bar=False), np.float32
    ).reshape(-1)
    if len(scores) != len(texts) or not np.isfinite(scores).all():
        raise ModelError(
            f"the cross-encoder gives {scores.tolist()[:5]} for {len(texts)} texts", "wanted a number each"
        )
    order = np.argsort(-scores, kind="stable")
    return order.tolist(), scores[order]
