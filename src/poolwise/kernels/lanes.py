"""Lanes: parallel batches on a CPU, one thread per lane, each with a replica of the model that shares its weights.

Small matrix products cannot use several cores well: each product waits for its slowest thread. Whole batches in
parallel can.
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
"""A forward of a small base holds Python's lock (the GIL) for a tenth of its time; more lanes would wait for it."""


def num_lanes(device: torch.device) -> int:
    """Return how many batches are read in parallel: one per torch thread on a CPU (at most 8), one elsewhere."""
    return min(_usual_threads(), MOST_LANES) if device.type == "cpu" else 1


class Lanes:
    """A pool of model replicas that share weights and buffers; replicas are created on demand and kept.

    A forward registers hooks on layers, so each replica runs one forward at a time, and each thread gets its own
    replica. The original model runs none, so replicas never copy another forward's hooks.

    Args:
        model: the model to replicate; it must not change.
        shared: further objects that replicas share, such as the tokenizer.
    """

    def __init__(self, model: nn.Module, shared: Sequence[object] = ()) -> None:
        self._model, self._shared = model, tuple(shared)
        self._free: list[nn.Module] = []
        self._lock = threading.Lock()

    def take(self) -> nn.Module:
        """Return a replica that no other thread uses."""
        with self._lock:
            return self._free.pop() if self._free else replicate(self._model, self._shared)

    def give_back(self, model: nn.Module) -> None:
        """Return a replica to the pool."""
        with self._lock:
            self._free.append(model)


def replicate(model: nn.Module, shared: Sequence[object] = ()) -> nn.Module:
    """Return a copy of a model that shares weights and buffers but has its own modules, and so its own hooks."""
    return copy.deepcopy(model, {id(part): part for part in [*model.parameters(), *model.buffers(), *shared]})


@contextmanager
def open_lanes(lanes: Lanes, count: int, threads_each: int | None = None) -> Iterator[ReadAll]:
    """Yield ``map(read, items)``, which returns ``read(model, item)`` for each item in order, ``count`` in parallel.

    torch's threads are divided among the lanes; after the block their number is restored.

    Args:
        threads_each: torch threads per lane; None means an equal share.
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


@contextmanager
def as_lane(count: int) -> Iterator[None]:
    """Let the calling thread compute as one of ``count`` parallel lanes, with its share of threads."""
    with _threads_kept() as threads:
        torch.set_num_threads(max(1, threads // count))
        yield


_threads_lock = threading.Lock()
_threads_before: list[int] = []
"""The number of torch threads before the first call that still has lanes open; one entry per such call."""


def _usual_threads() -> int:
    """Return the number of threads that torch has while no lanes are open."""
    with _threads_lock:
        return _threads_before[0] if _threads_before else torch.get_num_threads()


@contextmanager
def _threads_kept() -> Iterator[int]:
    """Yield torch's number of threads, and restore it after the block.

    A number set in a lane becomes torch's default for threads that start later. A call that starts in such a thread,
    while another call has lanes open, would mistake it for the user's setting.
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
