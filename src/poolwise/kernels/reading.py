"""Fast encoding of many texts: windows are tokenised ahead, batches have equal work, lanes read them in parallel.

All that this module needs from a model is in ``Reader``: how it tokenises texts and how it reads a batch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from poolwise.errors import is_out_of_memory
from poolwise.kernels.batches import plan_batches, token_budget
from poolwise.kernels.lanes import MOST_LANES, Lanes, num_lanes, open_lanes
from poolwise.kernels.memory import ALLOCATION_ERRORS, free_attempt, say_once

WINDOW = 4096
"""Number of texts sorted by length together; the next window is tokenised while the model reads this one."""

FIRST_WINDOW = 256
"""First window on a GPU, small so that the GPU starts early: it reads about as fast as texts are tokenised. Windows
then double in size."""

Row = tuple[int, list[int], int]
"""A text's index, its token ids, and how many of its first ids belong to the prompt."""

Tokenised = tuple[list[list[int]], list[int]]
"""The token ids of each text, and how many of its first ids belong to the prompt."""


@dataclass(frozen=True)
class Reader:
    """How a model reads texts.

    Args:
        tokenise: converts texts and a prompt to token ids.
        read: returns the embeddings (B D) of a batch, computed by a model of ``lanes``.
        device: where ``read`` computes.
        is_packed: batches are read without padding on this device.
    """

    tokenise: Callable[[Sequence[Any], str], Tokenised]
    read: Callable[[Any, Sequence[Row]], Float[Tensor, "B D"]]
    lanes: Lanes
    device: torch.device
    is_packed: bool


def read_texts(
    reader: Reader,
    texts: Sequence[Any],
    prompt: str = "",
    *,
    budget: int | None = None,
    most_texts: int | None = None,
    is_repeatable: bool = False,
) -> Iterator[tuple[list[int], Float[Tensor, "B D"]]]:
    """Yield the indices and embeddings of some texts, on the reader's device, until all texts are read.

    Args:
        prompt: put before every text.
        budget: tokens per forward pass; None takes the device's default. On a CPU several passes run in parallel.
        most_texts: maximum number of texts per forward pass.
        is_repeatable: on a CPU, one thread reads each batch, so the number of threads changes no bit of an embedding.
    Law: an embedding does not depend on the other texts, except for rounding in products of another shape.
    """
    with ExitStack() as stack:
        lanes = _Opened(reader, is_repeatable, stack)
        results = _read_windows(reader, texts, prompt, budget or token_budget(reader.device), most_texts, lanes)
        for rows, found in _sent_ahead(results) if _works_alone(reader.device) else chain.from_iterable(results):
            yield [number for number, _, _ in rows], found


class _Opened:
    """The lanes of one call, opened when the number of batches is known."""

    def __init__(self, reader: Reader, is_repeatable: bool, stack: ExitStack) -> None:
        self._reader, self._is_repeatable, self._stack = reader, is_repeatable, stack
        self._read_all: Any = None
        self._too_many: float = math.inf
        """The fewest tokens of a batch that did not fit into memory."""

    def read(self, work: Sequence[Sequence[Row]]) -> Iterator[Tensor]:
        if self._read_all is None:
            self._read_all = self._stack.enter_context(self._open(len(work)))
        vectors: Iterator[Tensor] = self._read_all(self._one, work)
        return vectors

    def _open(self, num_batches: int) -> Any:
        device = self._reader.device
        if self._is_repeatable and device.type == "cpu":
            return open_lanes(self._reader.lanes, max(1, min(torch.get_num_threads(), MOST_LANES, num_batches)), 1)
        # A single batch is read by all threads together.
        return open_lanes(self._reader.lanes, max(1, min(num_lanes(device), num_batches)))

    def _one(self, model: Any, rows: Sequence[Row]) -> Tensor:
        """Return the embeddings of a batch; if memory runs out, read its halves, and those of batches as large."""
        num_tokens = sum(len(ids) for _, ids, _ in rows)
        if num_tokens < self._too_many or len(rows) == 1:
            try:
                return self._reader.read(model, rows)
            except ALLOCATION_ERRORS as error:
                if len(rows) == 1 or not is_out_of_memory(error):
                    raise
            self._too_many = min(self._too_many, num_tokens)
            free_attempt()
            say_once("out of memory in encoding: batches that do not fit are read in halves; same embeddings, slower")
        half = len(rows) // 2
        return torch.cat([self._one(model, rows[:half]), self._one(model, rows[half:])])


def _works_alone(device: torch.device) -> bool:
    """Return whether a device computes asynchronously, while the CPU does something else."""
    return device.type != "cpu"


def _read_windows(
    reader: Reader, texts: Sequence[Any], prompt: str, budget: int, most_texts: int | None, lanes: _Opened
) -> Iterator[Iterator[tuple[list[Row], Tensor]]]:
    """Yield, for each window, an iterator over its batches: their rows and embeddings."""
    device = reader.device
    is_packed = _works_alone(device) and reader.is_packed
    waiting: list[Row] = []
    for window, tokenised in _tokenised(reader, texts, prompt):
        rows = [*waiting, *zip(window, *tokenised, strict=True)]
        batches = plan_batches([len(ids) for _, ids, _ in rows], budget, most_texts, is_packed=is_packed)
        work, waiting = [[rows[i] for i in batch] for batch in batches], []
        # Launching a batch takes as long whether it is full or not: one less than half full waits for more texts.
        if _works_alone(device) and window.stop < len(texts) and 2 * sum(len(ids) for _, ids, _ in work[-1]) < budget:
            waiting = work.pop()
        yield zip(work, lanes.read(work), strict=True)


def _sent_ahead(windows: Iterable[Iterable[tuple[list[Row], Tensor]]]) -> Iterator[tuple[list[Row], Tensor]]:
    """Yield the results of each window after the next one is launched, so that the device never waits."""
    before: list[tuple[list[Row], Tensor]] = []
    for window in windows:
        sent_now = list(window)
        yield from before
        before = sent_now
    yield from before


def _windows(num_texts: int, device: torch.device) -> list[range]:
    """Return the windows: ranges of texts that are sorted by length together."""
    size, windows = FIRST_WINDOW if _works_alone(device) else WINDOW, [range(0)]
    while windows[-1].stop < num_texts:
        start = windows[-1].stop
        windows.append(range(start, min(start + size, num_texts)))
        size = min(2 * size, WINDOW)
    return windows[1:]


def _tokenised(reader: Reader, texts: Sequence[Any], prompt: str) -> Iterator[tuple[range, Tokenised]]:
    """Yield each window with its token ids and prompt lengths.

    On a CPU the next window is tokenised ahead in another thread. On a GPU this thread tokenises too, while the GPU
    still reads the previous window: a second thread would hold Python's lock and delay the launches (on an H100 a batch
    took 100 ms instead of 25).
    """
    windows = _windows(len(texts), reader.device)

    def tokenise(window: range) -> Tokenised:
        return reader.tokenise(list(texts[window.start : window.stop]), prompt)

    if _works_alone(reader.device) or len(windows) < 2:
        yield from ((window, tokenise(window)) for window in windows)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(tokenise, window) for window in windows[:1])
        for number, window in enumerate(windows, start=1):
            tokenised = ahead.popleft().result()
            ahead.extend(pool.submit(tokenise, later) for later in windows[number : number + 1])
            yield window, tokenised
