"""Many texts to vectors: windows of texts are tokenised ahead, batches hold equal work, lanes read them side by side.

Knows of a model only how it tokenises texts and how it reads a batch, see ``Reader``.
"""

from __future__ import annotations

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

from poolwise.kernels.batches import plan_batches, token_budget
from poolwise.kernels.lanes import MOST_LANES, Lanes, num_lanes, open_lanes

WINDOW = 4096
"""Texts sorted by length among themselves; the next window is tokenised while the model reads this one."""

FIRST_WINDOW = 256
"""Of an accelerator, which reads about as fast as texts are tokenised: it gets its first soon. Windows then double."""

Row = tuple[int, list[int], int]
"""A text's number, its token ids, and how many of its first ids are prompt."""

Tokenised = tuple[list[list[int]], list[int]]
"""The ids of texts, and how many of the first ids of each are prompt."""


@dataclass(frozen=True)
class Reader:
    """How one model reads texts.

    Args:
        tokenise: texts and a prompt to ids.
        read: the vectors (B D) of a batch, by a model of ``lanes``.
        device: where ``read`` computes.
        is_packed: batches are read without their padding there.
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
    """Yield the numbers of some texts and their vectors, on the reader's device, until all texts are read.

    Args:
        prompt: put before every text.
        budget: tokens a forward pass; None takes what suits the device. On a processor several passes run at once.
        most_texts: at most so many texts a forward pass.
        is_repeatable: on a processor, one thread reads a batch however many there are, so that their number changes
            no bit of a vector.
    Law: the vectors do not depend on the other texts, beyond the rounding of products of another shape.
    """
    with ExitStack() as stack:
        lanes = _Opened(reader, is_repeatable, stack)
        results = _read_windows(reader, texts, prompt, budget or token_budget(reader.device), most_texts, lanes)
        for rows, found in _sent_ahead(results) if _works_alone(reader.device) else chain.from_iterable(results):
            yield [number for number, _, _ in rows], found


class _Opened:
    """The lanes of one call, opened once it is known how many batches there are."""

    def __init__(self, reader: Reader, is_repeatable: bool, stack: ExitStack) -> None:
        self._reader, self._is_repeatable, self._stack = reader, is_repeatable, stack
        self._read_all: Any = None

    def read(self, work: Sequence[Sequence[Row]]) -> Iterator[Tensor]:
        if self._read_all is None:
            self._read_all = self._stack.enter_context(self._open(len(work)))
        vectors: Iterator[Tensor] = self._read_all(self._one, work)
        return vectors

    def _open(self, num_batches: int) -> Any:
        device = self._reader.device
        if self._is_repeatable and device.type == "cpu":
            return open_lanes(self._reader.lanes, max(1, min(torch.get_num_threads(), MOST_LANES, num_batches)), 1)
        # One batch alone is read by all threads together.
        return open_lanes(self._reader.lanes, max(1, min(num_lanes(device), num_batches)))

    def _one(self, model: Any, rows: Sequence[Row]) -> Tensor:
        """Return the vectors of a batch; where it is more than the device holds, of its halves, one after the other."""
        try:
            return self._reader.read(model, rows)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
        half = len(rows) // 2
        return torch.cat([self._one(model, rows[:half]), self._one(model, rows[half:])])


def _works_alone(device: torch.device) -> bool:
    """Return whether a device computes while the processor, which has sent it the work, does something else."""
    return device.type != "cpu"


def _read_windows(
    reader: Reader, texts: Sequence[Any], prompt: str, budget: int, most_texts: int | None, lanes: _Opened
) -> Iterator[Iterator[tuple[list[Row], Tensor]]]:
    """Yield, for each window, its batches as they are read: their rows and vectors."""
    device = reader.device
    is_packed = _works_alone(device) and reader.is_packed
    waiting: list[Row] = []
    for window, tokenised in _tokenised(reader, texts, prompt):
        rows = [*waiting, *zip(window, *tokenised, strict=True)]
        batches = plan_batches([len(ids) for _, ids, _ in rows], budget, most_texts, is_packed=is_packed)
        work, waiting = [[rows[i] for i in batch] for batch in batches], []
        # Sending a batch takes as long whether it is full or not: what is less than half full waits for more texts.
        if _works_alone(device) and window.stop < len(texts) and 2 * sum(len(ids) for _, ids, _ in work[-1]) < budget:
            waiting = work.pop()
        yield zip(work, lanes.read(work), strict=True)


def _sent_ahead(windows: Iterable[Iterable[tuple[list[Row], Tensor]]]) -> Iterator[tuple[list[Row], Tensor]]:
    """Yield the results of each window once the work of the next one is sent, so that the device never waits."""
    before: list[tuple[list[Row], Tensor]] = []
    for window in windows:
        sent_now = list(window)
        yield from before
        before = sent_now
    yield from before


def _windows(num_texts: int, device: torch.device) -> list[range]:
    """Return the texts that are sorted together, window by window."""
    size, windows = FIRST_WINDOW if _works_alone(device) else WINDOW, [range(0)]
    while windows[-1].stop < num_texts:
        start = windows[-1].stop
        windows.append(range(start, min(start + size, num_texts)))
        size = min(2 * size, WINDOW)
    return windows[1:]


def _tokenised(reader: Reader, texts: Sequence[Any], prompt: str) -> Iterator[tuple[range, Tokenised]]:
    """Yield each window with its token ids and how many of them are prompt.

    Lanes on a processor find the next window ready. Work for an accelerator is sent by this thread alone: a tokeniser
    beside it would keep Python's lock from it (25 ms a batch on an H100 became 100), while the device still has the
    window before to read.
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
