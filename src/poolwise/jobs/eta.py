"""How much longer a plan will take: its estimate at first, and the observed rate as soon as there is one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from poolwise.jobs.job import Job, JobKind

RECENT_REPORTS = 8
"""A job's rate is that of its last reports, so that a slow-down shows."""
LATE_SHARE = 0.25
"""Of the time a job has taken without a sign of its rate: as long it is expected to go on at least."""
PRIOR_WEIGHT = 0.25
"""The plan's own pace counts as this share of a finished job of mean size."""
AGEING = 0.5
"""What a finished job counts for in the pace once another one has ended."""
LEAST_SECONDS = 1.0
"""While anything is left, at least this is."""


class _Running:
    """One running job: when it began, and its last reports.

    A job goes through phases, such as texts encoded and then tasks scored; each has totals, and a rate, of its own.
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
            # Before the first report lies what a job does once: a base loaded, an earlier checkpoint taken up.
            self._points.popleft()
            self._has_start = False

    @property
    def is_observed(self) -> bool:
        """Whether it has shown a rate."""
        return len(self._points) > 1

    def left(self, pace: float, now: float) -> float:
        """Return the seconds it has left, ``pace`` being seconds over planned seconds where it shows no rate yet."""
        (first, before), (last, done) = self._points[0], self._points[-1]
        since = now - last
        planned = self.expected * pace - (now - self.start)
        if not self.is_observed:
            return max(planned, LATE_SHARE * since, LEAST_SECONDS)
        # A unit that takes longer than those before it slows the rate before it ends.
        per_unit = max((last - first) / (done - before), (now - first) / (done - before + 1))
        left = per_unit * (self.total - done) - min(since, per_unit)
        # One report tells that a job is slow, not that it is fast.
        return max(left, planned if self._has_start else 0.0, LEAST_SECONDS)


class Eta:
    """Says how long the rest of a plan will take.

    Jobs that run go on at the rate they show. Jobs that wait take their planned seconds times the pace of their kind:
    seconds taken over planned seconds, of the jobs that ended, the last counting most, and of those that run.

    Law: while a job is left, so is time; a job that gets slower makes the estimate grow.

    Args:
        seconds: the planned seconds by job id; a job that is not among them counts from its start on.
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
        # Progress of other processes arrives in a thread of its own.
        self._lock = threading.Lock()

    def start(self, job: Job) -> None:
        """Count a job as running."""
        with self._lock:
            _, expected = self._waiting.pop(job.id, (job.kind, 0.0))
            self._running[job.id] = (job.kind, _Running(expected, self._clock()))

    def advance(self, job: Job, done: int, total: int) -> None:
        """Take note of a running job's progress; of any other job, nothing."""
        with self._lock:
            if job.id in self._running:
                self._running[job.id][1].advance(done, total, self._clock())

    def finish(self, job: Job, seconds: float) -> None:
        """Count a job as done, and its seconds in the pace of its kind."""
        with self._lock:
            _, running = self._running.pop(job.id, (job.kind, None))
            taken, planned = self._ended.get(job.kind, (0.0, 0.0))
            expected = running.expected if running else 0.0
            self._ended[job.kind] = (taken * AGEING + seconds, planned * AGEING + expected)

    def drop(self, job: Job) -> None:
        """Leave a job out that failed or will not run."""
        with self._lock:
            self._waiting.pop(job.id, None)
            self._running.pop(job.id, None)

    def left(self) -> float:
        """Return the seconds until the last job ends; 0 only where none is left."""
        with self._lock:
            now = self._clock()
            overall = self._pace(None, now)
            running = [one.left(self._pace(kind, now, overall), now) for kind, one in self._running.values()]
            waiting = [expected * self._pace(kind, now, overall) for kind, expected in self._waiting.values()]
            if not running and not waiting:
                return 0.0
            # A job is not shared: the longest that runs is the least there is.
            return max((sum(running) + sum(waiting)) / self._num_slots, *running, LEAST_SECONDS)

    def _pace(self, kind: JobKind | None, now: float, prior: float = 1.0) -> float:
        """Return seconds taken over seconds planned, of one kind of job or of all; ``prior`` where nothing is known."""
        ended = [pair for other, pair in self._ended.items() if kind in (None, other)]
        taken, planned = (sum(pair[part] for pair in ended) for part in (0, 1))
        for other, one in self._running.values():
            if kind in (None, other) and one.is_observed:
                taken += now - one.start + one.left(1.0, now)
                planned += one.expected
        weight = PRIOR_WEIGHT * self._mean
        return (taken + weight * prior) / (planned + weight) if planned + weight else prior
