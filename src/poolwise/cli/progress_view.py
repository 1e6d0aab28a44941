"""A study's progress on standard error: bars with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich import progress as bars
from rich.console import Console

from poolwise.cli.plan_view import duration
from poolwise.jobs import Eta, Job, Progress
from poolwise.wording import visible

LINE_SECONDS = 20.0
"""Seconds between progress lines of a running job when there is no terminal."""


@dataclass
class _Running:
    bar: bars.TaskID
    start: float
    last_line: float


class _Drawing:
    """Progress bars on standard error, drawn inside a ``with`` block and only on a terminal."""

    def __init__(self, time_column: bars.ProgressColumn) -> None:
        self.console = Console(file=sys.stderr)
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            time_column,
            bars.TextColumn("{task.fields[detail]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def _say(self, text: str) -> None:
        # Log lines are not wrapped, so that a message can be found by searching.
        self.console.print(visible(text), highlight=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self._say(text)


class ProgressView(_Drawing, Progress):
    """Shows a study's progress; the time left is estimated from the speed of running and finished jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(bars.TimeElapsedColumn())
        self.num_failed = 0
        self._clock = clock
        self._eta = Eta([], {}, 1, clock)
        self._running: dict[str, _Running] = {}

    def started(self, jobs: Sequence[Job], seconds: dict[str, float], workers: int) -> None:
        self._eta = Eta(jobs, seconds, workers, self._clock)
        self._all = self._bars.add_task("study", total=len(jobs), detail=self._left())
        processes = f" in {workers} processes" if workers > 1 else ""
        self._say(f"{len(jobs)} jobs, about {duration(sum(seconds.values()) / workers)}{processes}")

    def job_started(self, job: Job) -> None:
        bar = self._bars.add_task(job.label, total=None, detail="")
        self._eta.start(job)
        self._running[job.id] = _Running(bar, self._clock(), self._clock())
        self._line(f"{job.label} ...")

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        running = self._running.get(job.id)
        if running is None:  # it has ended: workers send messages apart from results
            return
        self._eta.advance(job, done, total)
        self._bars.update(running.bar, completed=done, total=total, detail=detail)
        self._bars.update(self._all, detail=self._left())
        if self._clock() - running.last_line > LINE_SECONDS:
            running.last_line = self._clock()
            self._line(f"  {job.label}: {done}/{total} {detail}; {self._left()}")

    def job_finished(self, job: Job, seconds: float) -> None:
        self._eta.finish(job, seconds)
        self._close(job)
        self._say(f"[green]done[/green] {job.label} in {duration(seconds)}; {self._left()}")

    def job_failed(self, job: Job, message: str) -> None:
        self.num_failed += 1
        self._eta.drop(job)
        self._close(job)
        self.console.print(visible(f"failed: {job.label}: {message}"), style="red", markup=False, soft_wrap=True)

    def job_skipped(self, job: Job, reason: str) -> None:
        self._eta.drop(job)
        self._close(job)
        self.console.print(visible(f"{job.label}: {reason}"), style="red", markup=False, soft_wrap=True)

    def note(self, message: str) -> None:
        # No markup: a path may contain brackets.
        self.console.print(visible(message), highlight=False, markup=False, soft_wrap=True)

    def _close(self, job: Job) -> None:
        if (running := self._running.pop(job.id, None)) is not None:
            self._bars.remove_task(running.bar)
        self._bars.update(self._all, advance=1, detail=self._left())

    def _left(self) -> str:
        seconds = self._eta.left()
        return f"about {duration(seconds)} left" if seconds else "nothing left"


class StepView(_Drawing):
    """One progress bar for one long call, on standard error; without a terminal, a line from time to time."""

    def __init__(self, label: str) -> None:
        super().__init__(bars.TimeRemainingColumn())
        self._label = label
        self._bar = self._bars.add_task(label, total=None, detail="")
        self._last_line: float | None = None

    def advance(self, done: int, total: int, detail: str) -> None:
        """Show that ``done`` of ``total`` steps are done."""
        self._bars.update(self._bar, completed=done, total=total, detail=detail)
        # The first report is shown at once: it says where a resumed call starts.
        if self._last_line is None or time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            self._line(f"{self._label}: {done}/{total} {detail}")
