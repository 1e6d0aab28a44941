"""Progress of a corpus: rows done, rows per second, and the time left, which follows the observed speed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

RECENT_REPORTS = 16
"""The speed is that over this many last reports, so that the estimate follows a change."""


@dataclass(frozen=True)
class Progress:
    """How far a corpus is.

    Args:
        num_done: rows of the input that are encoded, known already, or set aside.
        num_total: rows of the input, about; None if that is not known.
        rows_per_second: None before the second report.
        seconds_left: None if total or speed is not known.
    """

    num_done: int
    num_total: int | None
    rows_per_second: float | None = None
    seconds_left: float | None = None


OnProgress = Callable[[Progress], None]


class Pace:
    """Turns counts into progress.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, num_total: int | None, on_progress: OnProgress, clock: Callable[[], float] = time.monotonic):
        self._total, self._on_progress, self._clock = num_total, on_progress, clock
        self._points: deque[tuple[float, int]] = deque(maxlen=RECENT_REPORTS)

    def report(self, num_done: int) -> None:
        """Report that so many rows of the input are done; a lower number than before changes nothing."""
        num_done = max(num_done, self._points[-1][1] if self._points else 0)
        self._points.append((self._clock(), num_done))
        (first, before), (last, done) = self._points[0], self._points[-1]
        rate = (done - before) / (last - first) if last > first and done > before else None
        # The total is an estimate for most files, and a run past its end has no end in sight.
        total = self._total if self._total is not None and self._total >= num_done else None
        left = (total - num_done) / rate if rate and total is not None else None
        self._on_progress(Progress(num_done, total, rate, left))
