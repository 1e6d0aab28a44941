"""Several processes: how they start, and that an interruption ends them all, also one that would not end by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import psutil
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

OBSERVANT = """
    import os, sys

    def perform(job, work, report):
        (work.out / f"{job.key}.seen").write_text(f"{os.getppid()} {'sentence_transformers' in sys.modules}")
"""
PREPARING = """
    import time, psutil
    from poolwise.study.workers import prepare_workers

    prepare_workers()
    time.sleep(0.5)
    print(*(child.pid for child in psutil.Process().children()), flush=True)
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


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_workers_start_with_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "observant_jobs.py").write_text(textwrap.dedent(OBSERVANT))
    monkeypatch.syspath_prepend(str(tmp_path))
    import observant_jobs  # type: ignore[import-not-found]

    jobs = [Job("train", name, 0, name, name, name) for name in ("first", "second")]
    nothing: Any = None
    workers.execute_parallel(Work(jobs, nothing, nothing, tmp_path, observant_jobs.perform), Progress(), 2)
    parents, loaded = zip(*((tmp_path / f"{job.key}.seen").read_text().split() for job in jobs), strict=True)
    assert set(loaded) == {"True"}
    assert len(set(parents)) == 1
    assert int(parents[0]) != os.getpid()
    sys.modules.pop("observant_jobs")


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_what_workers_are_forked_from_ends_with_a_study_that_is_killed() -> None:
    command = [sys.executable, "-c", textwrap.dedent(PREPARING)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        children = [psutil.Process(int(pid)) for pid in study.stdout.readline().split()]
        study.kill()
    assert children
    assert psutil.wait_procs(children, timeout=4)[1] == []


def test_who_wants_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GPU_DEVICES", ())
    monkeypatch.setattr(workers, "usable_cores", lambda: [0, 1])
    assert workers.wants_workers(None)
    assert workers.wants_workers(2)
    assert not workers.wants_workers(1)
    monkeypatch.setattr(workers, "usable_cores", lambda: [0])
    assert not workers.wants_workers(None)
    monkeypatch.setattr(workers, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(workers, "_GPU_DEVICES", (str(Path(__file__)),))
    assert not workers.wants_workers(None)
