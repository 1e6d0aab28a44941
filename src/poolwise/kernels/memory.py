"""When memory runs out: free what is left of the attempt, say so, and go on with less at a time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from poolwise.errors import is_out_of_memory

T = TypeVar("T")
logger = logging.getLogger(__name__)
STOCK_BATCH = 32
"""Texts per forward pass of a model of others: the default of sentence-transformers' ``encode``."""
ALLOCATION_ERRORS = (MemoryError, RuntimeError)
"""What an allocation that fails raises: torch's error for a GPU is a RuntimeError, and so is that of its CPU allocator.
``is_out_of_memory`` tells which RuntimeErrors are meant."""


def free_attempt() -> None:
    """Give back to the GPU what a failed attempt held; call it after ``except``, whose error holds tensors."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@functools.cache
def say_once(message: str) -> None:
    """Log a warning, once in a process."""
    logger.warning(message)


def encode_with_less(encode: Callable[[int], T], batch_size: int) -> T:
    """Return ``encode(batch_size)``; while memory runs out, with half as many texts per forward pass.

    Raises: the error of ``encode`` where a single text does not fit, and any other.
    """
    while True:
        try:
            return encode(batch_size)
        except ALLOCATION_ERRORS as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
        batch_size //= 2
        free_attempt()
        say_once(f"out of memory in encoding: {batch_size} texts per forward pass from here on")
