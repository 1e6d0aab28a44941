"""``encode_texts``: fast encoding with a poolwise model, with progress per batch and repeatable results."""

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
    """Return whether ``encode_texts`` accepts the model: one that poolwise built or loaded."""
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
    """Return one embedding per text, in order, in fp32: the same as ``model.encode``.

    Args:
        prompt: put before every text.
        budget: tokens per forward pass; None takes the device's default. On a CPU several passes run in parallel.
        most_texts: maximum number of texts per forward pass.
        is_repeatable: on a CPU, the number of threads changes no bit of an embedding.
        on_progress: called with (texts done, all texts) after every batch.
    Raises: ModelError if the model is not a poolwise model; DataError if an input is not a text, or ``texts`` is a
        single text.
    """
    if not is_readable(model):
        raise ModelError(f"the model is a {type(model).__name__}", "wanted a poolwise model", "use model.encode")
    if isinstance(texts, str):
        raise DataError(f"texts is one text, {texts[:40]!r}", "wanted a list of texts", "put it in a list")
    vectors: NDArray[np.float32] = np.empty((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32)
    done = 0
    found = read_texts(model.reader(), texts, prompt, budget=budget, most_texts=most_texts, is_repeatable=is_repeatable)
    for numbers, batch in found:
        vectors[numbers] = batch.cpu().numpy()
        done += len(numbers)
        if on_progress is not None:
            on_progress(done, len(texts))
    return vectors
