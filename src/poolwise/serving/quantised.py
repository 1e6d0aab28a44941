"""Embedding types as Cohere has them: float, int8, uint8, binary, ubinary and base64."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from poolwise.corpus.quantise import to_stored
from poolwise.errors import ConfigError

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
HIGHEST = 127


def to_int8(vectors: Float[np.ndarray, "B D"], limit: float) -> NDArray[np.int8]:
    """Return embeddings as whole numbers from -127 to 127, which ``limit`` stands for; values beyond are clipped.

    All numbers have one factor, so cosine and dot product order texts as with floats, up to rounding.

    Law: a row's form does not depend on the other rows.
    """
    return np.clip(np.rint(vectors * (HIGHEST / limit)), -HIGHEST, HIGHEST).astype(np.int8)


def as_type(vectors: Float[np.ndarray, "B D"], kind: EmbeddingType, limit: float) -> Any:
    """Return embeddings in a type, rows that can be written as JSON.

    Args:
        limit: what the largest int8 stands for.
    Raises: ConfigError for bits that do not fill whole bytes.
    """
    if kind in ("binary", "ubinary"):
        if vectors.shape[1] % 8:
            raise ConfigError(
                f"embedding_types has {kind}, and the embeddings have {vectors.shape[1]} numbers",
                "wanted a multiple of 8: a byte holds 8 of them",
            )
        bits = to_stored(vectors, "binary").astype(np.int16)
        return (bits if kind == "ubinary" else bits - 128).tolist()
    if kind in ("int8", "uint8"):
        levels = to_int8(vectors, limit).astype(np.int16)
        return (levels if kind == "int8" else levels + 128).tolist()
    return list(vectors)
