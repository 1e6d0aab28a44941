"""Stored forms of embeddings: float32, float16, int8 with kept ranges, and packed bits."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from poolwise.corpus.manifest import Dtype
from poolwise.errors import ConfigError

LEVELS = 255
CALIBRATION_ROWS = 4096
"""Rows at the start of a corpus from which the ranges of int8 are taken, once."""


def find_ranges(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "2 D"]:
    """Return the smallest and the largest value of each dimension."""
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def to_stored(
    vectors: Float[np.ndarray, "N D"], dtype: Dtype, ranges: Float[np.ndarray, "2 D"] | None = None
) -> NDArray[np.generic]:
    """Return embeddings in the form that a shard stores.

    int8 has 256 levels from a dimension's smallest to its largest value; values beyond are clipped. ``binary`` keeps
    the sign of each number as a bit, eight to a byte, the first highest (sentence-transformers' ``ubinary``).

    Law: a row's form does not depend on the other rows.
    """
    if dtype == "binary":
        return np.packbits(vectors > 0, axis=1)
    if dtype == "int8":
        assert ranges is not None, "int8 has ranges"
        levels = np.rint((vectors - ranges[0]) / _steps(ranges)) - 128
        return np.clip(levels, -128, 127).astype(np.int8)
    return vectors.astype(np.float16 if dtype == "float16" else np.float32)


def from_int8(stored: NDArray[np.int8], ranges: Float[np.ndarray, "2 D"]) -> Float[np.ndarray, "N D"]:
    """Return the values that int8 levels stand for, in float32; within the ranges at most half a level off."""
    return ((stored.astype(np.float32) + 128) * _steps(ranges) + ranges[0]).astype(np.float32)


def int8_line(ranges: Float[np.ndarray, "2 D"]) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Return step and offset of each dimension: an int8 level stands for ``step * level + offset``."""
    steps = _steps(ranges)
    return steps, 128 * steps + ranges[0]


def _steps(ranges: Float[np.ndarray, "2 D"]) -> Float[np.ndarray, " D"]:
    steps: Float[np.ndarray, " D"] = (ranges[1] - ranges[0]) / LEVELS
    return np.where(steps > 0, steps, np.float32(1))


def require_width(dtype: Dtype, dim: int) -> None:
    """Raise ConfigError where bits do not fill whole bytes."""
    if dtype == "binary" and dim % 8:
        raise ConfigError(f"--dtype binary with {dim} dimensions", "wanted a multiple of 8: a byte holds 8 of them")
