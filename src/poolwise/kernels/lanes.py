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
from torch import nn

ReadAll = Callable[[Callable[[Any, Any], Any], Sequence[Any]], Iterator[Any]]

MOST_LANES = 8
"""Python's lock is held for a tenth of a forward of a small base; beyond this many lanes they would queue for it."""


def num_lanes(device: torch.device) -> int:
    """Return how many batches are read at once: one a thread of torch on a processor, one on any other device."""
    return min(torch.get_num_threads(), MOST_LANES) if device.type == "cpu" else 1


class Lanes:
    """Replicas of a model over the same weights and buffers, made when first needed and kept.

    A forward hangs hooks on layers, so each replica serves one forward at a time; callers in several threads get
    replicas of their own. The model itself serves none, so that a replica never inherits another's hooks.

    Args:
        model: what replicas are made of; must not change.
        shared: what replicas have in common beside weights and buffers, such as the tokenizer.
    """

    def __init__(self, model: nn.Module, shared: Sequence[object] = ()) -> None:
        self._model, self._shared = model, tuple(shared)
        self._free: list[nn.Module] = []
        self._lock = threading.Lock()

    def take(self) -> nn.Module:
        """Return a replica that nobody else reads with."""
        with self._lock:
            return self._free.pop() if self._free else replicate(self._model, self._shared)

    def give_back(self, model: nn.Module) -> None:
        """Let others read with a replica that was taken."""
        with self._lock:
            self._free.append(model)


def replicate(model: nn.Module, shared: Sequence[object] = ()) -> nn.Module:
    """Return a model with modules of its own, so that their hooks are, over the same weights and buffers."""
    return copy.deepcopy(model, {id(part): part for part in [*model.parameters(), *model.buffers(), *shared]})


@contextmanager
def open_lanes(lanes: Lanes, count: int, threads_each: int | None = None) -> Iterator[ReadAll]:
    """Give ``map(read, items)``: ``read(model, item)`` of every item, in order, ``count`` of them at a time.

    torch's threads are divided among the lanes, and are as before after the block.

    Args:
        threads_each: torch's threads of a lane; None is an equal share of all.
    """
    if count == 1 and threads_each in (None, torch.get_num_threads()):
        model = lanes.take()
        try:
            yield lambda read, items: (read(model, item) for item in items)
        finally:
            lanes.give_back(model)
        return
    own, taken = threading.local(), []
    with _threads_kept() as threads:

        def enter() -> None:
            own.model = lanes.take()
            taken.append(own.model)
            torch.set_num_threads(threads_each or max(1, threads // count))

        with ThreadPoolExecutor(count, initializer=enter) as pool:
            try:
                yield lambda read, items: pool.map(lambda item: read(own.model, item), items)
            finally:
                pool.shutdown(cancel_futures=True)
                for model in taken:
                    lanes.give_back(model)


_threads_lock = threading.Lock()
_threads_before: list[int] = []
"""torch's threads when the first of the calls that now have lanes open began; one entry a call."""


@contextmanager
def _threads_kept() -> Iterator[int]:
    """Give torch's number of threads, and set it again after the block.

    A lane's own number becomes torch's default for threads that start later, so a call that begins in such a thread,
    while another has lanes open, would take it for the user's.
    """
    with _threads_lock:
        threads = _threads_before[0] if _threads_before else torch.get_num_threads()
        _threads_before.append(threads)
    try:
        yield threads
    finally:
        with _threads_lock:
            _threads_before.pop()
            torch.set_num_threads(threads)
