"""A study's progress on standard error: bars with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich import progress as bars
from rich.console import Console

from poolwise.cli.plan_view import duration
from poolwise.study.plan import Job
from poolwise.study.progress import Progress

LINE_SECONDS = 20.0
"""Without a terminal, a running job says where it is this often."""


class ProgressView(Progress):
    """Draws what a study tells; the ETA scales the plan by the speed so far."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.num_failed = 0
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.fields[detail]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._left: dict[str, float] = {}
        self._done_expected = self._done_actual = 0.0
        self._job_start = self._last_line = 0.0

    def __enter__(self) -> ProgressView:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def started(self, jobs: Sequence[Job], seconds: dict[str, float]) -> None:
        self._left = dict(seconds)
        self._total = len(jobs)
        self._all = self._bars.add_task("study", total=len(jobs), detail=self._eta(0.0))
        self._say(f"{len(jobs)} jobs, about {duration(sum(seconds.values()))}")

    def job_started(self, job: Job) -> None:
        self._job_start = self._last_line = time.monotonic()
        self._one = self._bars.add_task(job.label, total=None, detail="")
        self._line(f"{job.label} ...")

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        self._bars.update(self._one, completed=done, total=total, detail=detail)
        self._bars.update(self._all, detail=self._eta(time.monotonic() - self._job_start))
        if time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            self._line(f"  {job.label}: {done}/{total} {detail}; {self._eta(time.monotonic() - self._job_start)}")

    def job_finished(self, job: Job, seconds: float) -> None:
        self._done_expected += self._left.pop(job.id, 0.0)
        self._done_actual += seconds
        self._close(job)
        self._say(f"[green]done[/green] {job.label} in {duration(seconds)}; {self._eta(0.0)}")

    def job_failed(self, job: Job, message: str) -> None:
        self.num_failed += 1
        self._left.pop(job.id, None)
        self._close(job)
        self.console.print(f"failed: {job.label}: {message}", style="red", markup=False)

    def note(self, message: str) -> None:
        self._say(message)

    def _close(self, job: Job) -> None:
        self._bars.remove_task(self._one)
        self._bars.update(self._all, advance=1, detail=self._eta(0.0))

    def _eta(self, spent: float) -> str:
        pace = self._done_actual / self._done_expected if self._done_expected else 1.0
        return f"about {duration(max(0.0, sum(self._left.values()) * pace - spent))} left"

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self._say(text)


class StepView:
    """One bar for one long call, on standard error; plain lines now and then where that is no terminal."""

    def __init__(self, label: str) -> None:
        self._console = Console(file=sys.stderr)
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[detail]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._label = label
        self._bar = self._bars.add_task(label, total=None, detail="")
        self._last_line = time.monotonic()

    def __enter__(self) -> StepView:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def advance(self, done: int, total: int, detail: str) -> None:
        """Show that ``done`` of ``total`` steps are behind us."""
        self._bars.update(self._bar, completed=done, total=total, detail=detail)
        if not self._console.is_terminal and time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(f"{self._label}: {done}/{total} {detail}", highlight=False)
