"""Batches read side by side on a processor: a thread a lane, each with a replica of the model that shares its weights.

Small products do not fill several cores, and every one of them waits for the slowest; whole batches do fill them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

ReadAll = Callable[[Callable[[SentenceTransformer, Any], Any], Sequence[Any]], Iterator[Any]]

_MOST_LANES = 8
"""Python's lock is held for a tenth of a forward of a small base; beyond this many lanes they would queue for it."""


def num_lanes(device: torch.device) -> int:
    """Return how many batches are read at once: one a thread of torch on a processor, one on any other device."""
    return min(torch.get_num_threads(), _MOST_LANES) if device.type == "cpu" else 1


def replicate(model: SentenceTransformer) -> SentenceTransformer:
    """Return a model with modules of its own, so that their hooks are, over the same weights, buffers and tokenizer."""
    shared = [*model.parameters(), *model.buffers(), model[0].tokenizer, model[0].tokens]
    return copy.deepcopy(model, {id(part): part for part in shared})


@contextmanager
def open_lanes(model: SentenceTransformer, count: int) -> Iterator[ReadAll]:
    """Give ``map(read, items)``: ``read(model, item)`` of every item, in order, ``count`` of them at a time.

    torch's threads are divided among the lanes, and are as before after the block.
    """
    if count == 1:
        yield lambda read, items: (read(model, item) for item in items)
        return
    threads, own = torch.get_num_threads(), threading.local()
    replicas = [model, *(replicate(model) for _ in range(count - 1))]

    def enter() -> None:
        own.model = replicas.pop()
        torch.set_num_threads(max(1, threads // count))

    with ThreadPoolExecutor(count, initializer=enter) as pool:
        try:
            yield lambda read, items: pool.map(lambda item: read(own.model, item), items)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
