"""How a study tells what it is doing; the command line draws it, tests and libraries may ignore it."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.jobs.job import Job


class Progress:
    """A listener that ignores everything; subclass it and override what you want to show.

    ``job_advanced`` may be called from another thread than the rest.
    """

    def started(self, jobs: Sequence[Job], seconds: dict[str, float], workers: int) -> None:
        """All jobs that remain, the estimated seconds of each by job id, and how many run at a time."""

    def job_started(self, job: Job) -> None:
        """A job begins."""

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        """A job is ``done`` of ``total`` steps (or texts, or tasks) far; ``detail`` is a few words."""

    def job_finished(self, job: Job, seconds: float) -> None:
        """A job succeeded."""

    def job_failed(self, job: Job, message: str) -> None:
        """A job failed; those that need it will be skipped, the others go on."""

    def job_skipped(self, job: Job, reason: str) -> None:
        """A job will not run in this call, because one that it needs failed."""

    def note(self, message: str) -> None:
        """Something worth saying that is not about one job."""
