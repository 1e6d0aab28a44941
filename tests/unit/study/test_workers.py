"""Several processes: an interruption ends them all, also one that would not end by itself."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from poolwise.study import workers
from poolwise.study.executor import Work
from poolwise.study.plan import Job
from poolwise.study.progress import Progress

STUBBORN = """
    import os, signal, time

    def perform(job, work, report):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (work.out / f"{job.key}.partial").write_text(str(os.getpid()))
        (work.out / f"{job.key}.partial").rename(work.out / f"{job.key}.pid")
        time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_a_worker_that_does_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stubborn_jobs.py").write_text(textwrap.dedent(STUBBORN))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.5)
    import stubborn_jobs  # type: ignore[import-not-found]

    jobs = [Job("train", name, 0, name, name, name) for name in ("first", "second")]
    nothing: Any = None
    interrupted: list[float] = []
    main = threading.get_ident()

    def interrupt() -> None:
        while not all((tmp_path / f"{job.key}.pid").is_file() for job in jobs):
            time.sleep(0.05)
        interrupted.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        workers.execute_parallel(Work(jobs, nothing, nothing, tmp_path, stubborn_jobs.perform), Progress(), 2)
    assert time.monotonic() - interrupted[0] < 30
    assert not any(is_alive(int((tmp_path / f"{job.key}.pid").read_text())) for job in jobs)
    sys.modules.pop("stubborn_jobs")
