"""Texts to embeddings in one call, and the form of it that jobs use: progress by batch, results that repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from poolwise.errors import DataError, ModelError
from poolwise.kernels.reading import read_texts
from poolwise.models.embedding_model import EmbeddingModel


def is_readable(model: object) -> TypeGuard[EmbeddingModel]:
    """Return whether ``encode_texts`` takes a model: one that poolwise built or loaded."""
    return isinstance(model, EmbeddingModel)


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    prompt: str = "",
    *,
    budget: int | None = None,
    most_texts: int | None = None,
    is_repeatable: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "B D"]:
    """Return one vector a text, in order, fp32: what ``model.encode`` returns.

    Args:
        prompt: put before every text.
        budget: tokens a forward pass; None takes what suits the device. On a processor several passes run at once.
        most_texts: at most so many texts a forward pass.
        is_repeatable: the number of threads changes no bit of a vector.
        on_progress: called with (texts done, texts in all) after every batch.
    Raises: ModelError where the model is not one of ours; DataError where an input is not a text, or one text stands
        where several are wanted.
    """
    if not is_readable(model):
        raise ModelError(f"the model is a {type(model).__name__}", "wanted one of poolwise", "use model.encode")
    if isinstance(texts, str):
        raise DataError(f"texts is one text, {texts[:40]!r}", "wanted a list of texts", "put it into a list")
    vectors: NDArray[np.float32] = np.empty((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32)
    done = 0
    found = read_texts(model.reader(), texts, prompt, budget=budget, most_texts=most_texts, is_repeatable=is_repeatable)
    for numbers, batch in found:
        vectors[numbers] = batch.cpu().numpy()
        done += len(numbers)
        if on_progress is not None:
            on_progress(done, len(texts))
    return vectors
