"""Progress under ``--quiet``: shows only the jobs that failed."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from poolwise.jobs import Job, Progress
from poolwise.wording import visible


class QuietView(Progress):
    """Replaces ``ProgressView`` and ``StepView``."""

    def __init__(self) -> None:
        self.num_failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def job_failed(self, job: Job, message: str) -> None:
        self.num_failed += 1
        print(visible(f"failed: {job.label}: {message}"), file=sys.stderr)

    def advance(self, done: int, total: int, detail: str) -> None:
        """Show nothing."""
