"""The listener to which a study reports its progress; the command line draws it, other callers may ignore it."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.jobs.job import Job


class Progress:
    """A listener that ignores every event; subclass it and override what you want to show.

    ``job_advanced`` may be called from another thread than the other methods.
    """

    def started(self, jobs: Sequence[Job], seconds: dict[str, float], workers: int) -> None:
        """The study starts. Args: the remaining jobs, their estimated seconds by job id, how many run at a time."""

    def job_started(self, job: Job) -> None:
        """A job starts."""

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        """A job has done ``done`` of ``total`` steps (or texts, or tasks); ``detail`` is a short message."""

    def job_finished(self, job: Job, seconds: float) -> None:
        """A job succeeded."""

    def job_failed(self, job: Job, message: str) -> None:
        """A job failed; jobs that need it will be skipped, the others continue."""

    def job_skipped(self, job: Job, reason: str) -> None:
        """A job will not run in this call, because a job that it needs failed."""

    def note(self, message: str) -> None:
        """A message that is not about one job."""
