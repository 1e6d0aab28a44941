"""Estimates the time left of a plan: from the plan's estimate at first, then from observed speed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from poolwise.jobs.job import Job, JobKind

RECENT_REPORTS = 8
"""A job's rate is measured over this many last reports, so that a slow-down shows."""
LATE_SHARE = 0.25
"""A job without an observed rate is expected to run at least this share of its elapsed time longer."""
PRIOR_WEIGHT = 0.25
"""Weight of the plan's own estimate in the pace, relative to one finished job of mean size."""
AGEING = 0.5
"""Each time a job ends, the weight of earlier jobs in the pace is multiplied by this."""
LEAST_SECONDS = 1.0
"""The smallest estimate while a job is left."""


class _Running:
    """One running job: when it started, and its last reports.

    A job has phases, such as encoding texts and then scoring tasks; each has its own total and rate.
    """

    def __init__(self, expected: float, now: float) -> None:
        self.expected, self.start = expected, now
        self.total = 0
        self._has_start = True
        self._points: deque[tuple[float, int]] = deque([(now, 0)], maxlen=RECENT_REPORTS + 1)

    def advance(self, done: int, total: int, now: float) -> None:
        if self.total and (total != self.total or done < self._points[-1][1]):
            self._has_start = False
            self._points.clear()
            self._points.append((now, done))
        self.total = total
        if done > self._points[-1][1]:
            self._points.append((now, done))
        if self._has_start and len(self._points) > 2:
            # Time before the first report includes one-time work: loading a base, resuming from a checkpoint.
            self._points.popleft()
            self._has_start = False

    @property
    def is_observed(self) -> bool:
        """Whether a rate has been observed."""
        return len(self._points) > 1

    def left(self, pace: float, now: float) -> float:
        """Return the seconds left. ``pace`` (actual over planned seconds) is used while no rate has been observed."""
        (first, before), (last, done) = self._points[0], self._points[-1]
        since = now - last
        planned = self.expected * pace - (now - self.start)
        if not self.is_observed:
            return max(planned, LATE_SHARE * since, LEAST_SECONDS)
        # A unit that takes longer than earlier ones lowers the rate even before it ends.
        per_unit = max((last - first) / (done - before), (now - first) / (done - before + 1))
        left = per_unit * (self.total - done) - min(since, per_unit)
        # One report can show that a job is slow, but not that it is fast.
        return max(left, planned if self._has_start else 0.0, LEAST_SECONDS)


class Eta:
    """Estimates how long the rest of a plan will take.

    Running jobs continue at their observed rate. Waiting jobs take their planned seconds times the pace of their kind.
    The pace is actual over planned seconds of finished jobs (the last count most) and of running jobs.

    Law: the estimate is above 0 while a job is left; it grows when a job gets slower.

    Args:
        seconds: planned seconds by job id; a job without an entry counts from its start.
        num_slots: how many jobs run at a time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        seconds: dict[str, float],
        num_slots: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._num_slots = clock, num_slots
        self._waiting = {job.id: (job.kind, seconds.get(job.id, 0.0)) for job in jobs}
        self._running: dict[str, tuple[JobKind, _Running]] = {}
        self._ended: dict[JobKind, tuple[float, float]] = {}
        self._mean = sum(seconds.values()) / len(seconds) if seconds else 0.0
        # Progress from other processes arrives in a separate thread.
        self._lock = threading.Lock()

    def start(self, job: Job) -> None:
        """Count a job as running."""
        with self._lock:
            _, expected = self._waiting.pop(job.id, (job.kind, 0.0))
            self._running[job.id] = (job.kind, _Running(expected, self._clock()))

    def advance(self, job: Job, done: int, total: int) -> None:
        """Record the progress of a running job; ignore any other job."""
        with self._lock:
            if job.id in self._running:
                self._running[job.id][1].advance(done, total, self._clock())

    def finish(self, job: Job, seconds: float) -> None:
        """Count a job as done, and add its seconds to the pace of its kind."""
        with self._lock:
            _, running = self._running.pop(job.id, (job.kind, None))
            taken, planned = self._ended.get(job.kind, (0.0, 0.0))
            expected = running.expected if running else 0.0
            self._ended[job.kind] = (taken * AGEING + seconds, planned * AGEING + expected)

    def drop(self, job: Job) -> None:
        """Remove a job that failed or will not run."""
        with self._lock:
            self._waiting.pop(job.id, None)
            self._running.pop(job.id, None)

    def left(self) -> float:
        """Return the seconds until the last job ends; 0 only if no job is left."""
        with self._lock:
            now = self._clock()
            overall = self._pace(None, now)
            running = [one.left(self._pace(kind, now, overall), now) for kind, one in self._running.values()]
            waiting = [expected * self._pace(kind, now, overall) for kind, expected in self._waiting.values()]
            if not running and not waiting:
                return 0.0
            # A job is not split over processes, so the longest running job is a lower bound.
            return max((sum(running) + sum(waiting)) / self._num_slots, *running, LEAST_SECONDS)

    def _pace(self, kind: JobKind | None, now: float, prior: float = 1.0) -> float:
        """Return actual over planned seconds, of one kind of job or of all; ``prior`` if nothing is known."""
        ended = [pair for other, pair in self._ended.items() if kind in (None, other)]
        taken, planned = (sum(pair[part] for pair in ended) for part in (0, 1))
        for other, one in self._running.values():
            if kind in (None, other) and one.is_observed:
                taken += now - one.start + one.left(1.0, now)
                planned += one.expected
        weight = PRIOR_WEIGHT * self._mean
        return (taken + weight * prior) / (planned + weight) if planned + weight else prior
