"""Several processes: how they start, and that an interruption ends them all, also one that would not end by itself."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from poolwise.jobs import Job, Processes, Progress, processes, run_jobs, wants_workers
from poolwise.study.study import PRELOAD

STUBBORN = """
    import os, signal, time

    def open_run(out):
        def run(job, report):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (out / f"{job.key}.partial").write_text(str(os.getpid()))
            (out / f"{job.key}.partial").rename(out / f"{job.key}.pid")
            time.sleep(60)

        return run
"""

OBSERVANT = """
    import os, sys

    def open_run(out):
        (out / f"{os.getpid()}.opened").touch(exist_ok=False)

        def run(job, report):
            (out / f"{job.key}.seen").write_text(f"{os.getppid()} {'sentence_transformers' in sys.modules}")

        return run
"""
TALKING = """
    import logging, os, time

    def open_run(out):
        logging.getLogger("poolwise.tasks").warning("%s: common texts", "sts/a")
        logging.getLogger("poolwise.tasks").info("not worth a word")

        def run(job, report):
            (out / f"{os.getpid()}.begun").touch()
            while len(list(out.glob("*.begun"))) < 2:  # one job in each process
                time.sleep(0.05)

        return run
"""
KILLED = """
    import os, signal

    def open_run(out):
        def run(job, report):
            report(1, 2, "half")
            if job.key == "first":
                os.kill(os.getpid(), signal.SIGKILL)

        return run
"""
KILLED_ONCE = """
    import os, signal, time

    def open_run(out):
        def run(job, report):
            (out / f"{job.key}-{len(list(out.glob(job.key + '-*')))}").touch()
            while len(list(out.glob("*-0"))) < 2:  # one job in each process
                time.sleep(0.02)
            if job.key == "first" and not (out / "killed").exists():
                (out / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            while not (out / "first-1").exists():  # runs on after the other process was killed
                time.sleep(0.02)

        return run
"""
PREPARING = """
    import time, psutil
    from poolwise.jobs import prepare_workers

    prepare_workers(["poolwise.study.preload"])
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
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    import stubborn_jobs  # type: ignore[import-not-found]

    jobs = [Job("train", name, 0, name, name, name) for name in ("first", "second")]
    interrupted: list[float] = []
    main = threading.get_ident()

    def interrupt() -> None:
        while not all((tmp_path / f"{job.key}.pid").is_file() for job in jobs):
            time.sleep(0.05)
        interrupted.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    opened = partial(stubborn_jobs.open_run, tmp_path)
    with pytest.raises(KeyboardInterrupt), Processes(opened, tmp_path, 2, PRELOAD) as executor:
        run_jobs(jobs, tmp_path, executor, Progress())
    assert time.monotonic() - interrupted[0] < 30
    assert not any(is_alive(int((tmp_path / f"{job.key}.pid").read_text())) for job in jobs)
    sys.modules.pop("stubborn_jobs")


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_workers_start_with_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "observant_jobs.py").write_text(textwrap.dedent(OBSERVANT))
    monkeypatch.syspath_prepend(str(tmp_path))
    import observant_jobs  # type: ignore[import-not-found]

    jobs = [Job("train", name, 0, name, name, name) for name in ("first", "second", "third", "fourth")]
    with Processes(partial(observant_jobs.open_run, tmp_path), tmp_path, 2, PRELOAD) as executor:
        assert run_jobs(jobs, tmp_path, executor, Progress()) == {}
    parents, loaded = zip(*((tmp_path / f"{job.key}.seen").read_text().split() for job in jobs), strict=True)
    assert set(loaded) == {"True"}
    assert len(set(parents)) == 1
    assert int(parents[0]) != os.getpid()
    assert 1 <= len(list(tmp_path.glob("*.opened"))) <= 2  # once in each process
    sys.modules.pop("observant_jobs")


def test_what_workers_say_of_the_inputs_is_said_once_and_by_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talking_jobs.py").write_text(textwrap.dedent(TALKING))
    monkeypatch.syspath_prepend(str(tmp_path))
    import talking_jobs  # type: ignore[import-not-found]

    heard: list[str] = []
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", lambda record: heard.append(record.getMessage()))
    monkeypatch.setattr(logging.getLogger("poolwise"), "handlers", [listener])
    jobs = [Job("train", name, 0, name, name, name) for name in ("first", "second")]
    with Processes(partial(talking_jobs.open_run, tmp_path), tmp_path, 2, ("torch",)) as executor:
        assert run_jobs(jobs, tmp_path, executor, Progress()) == {}
    assert heard == ["sts/a: common texts"]
    assert "common texts" not in capfd.readouterr().err
    sys.modules.pop("talking_jobs")


def test_a_process_that_is_killed_fails_its_job_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed_jobs.py").write_text(textwrap.dedent(KILLED))
    monkeypatch.syspath_prepend(str(tmp_path))
    import killed_jobs  # type: ignore[import-not-found]

    first, second = (Job("train", name, 0, name, name, name) for name in ("first", "second"))
    after = Job("eval", "first", 0, "third", "third", "first", (first.id,))
    told: list[tuple[str, int, int]] = []

    class Listener(Progress):
        def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
            told.append((job.key, done, total))

    with Processes(partial(killed_jobs.open_run, tmp_path), tmp_path, 1, PRELOAD) as executor:
        failures = run_jobs([first, after, second], tmp_path, executor, Listener())
    assert "was killed (out of memory?)" in failures[first.label]
    assert failures.keys() == {first.label, after.label}
    assert ("second", 1, 2) in told
    sys.modules.pop("killed_jobs")


def test_a_job_whose_process_is_killed_is_tried_again_and_the_other_process_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "killed_once_jobs.py").write_text(textwrap.dedent(KILLED_ONCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import killed_once_jobs  # type: ignore[import-not-found]

    jobs = [Job("train", name, 0, name, name, name) for name in ("first", "second")]
    with Processes(partial(killed_once_jobs.open_run, tmp_path), tmp_path, 2, ("torch",)) as executor:
        assert run_jobs(jobs, tmp_path, executor, Progress()) == {}
    assert sorted(path.name for path in tmp_path.glob("*-?")) == ["first-0", "first-1", "second-0"]
    assert "train first, seed 0: its worker process was killed" in caplog.text
    sys.modules.pop("killed_once_jobs")


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
    monkeypatch.setattr(processes, "_GPU_DEVICES", ())
    monkeypatch.setattr(processes, "usable_cores", lambda: [0, 1])
    assert wants_workers(None)
    assert wants_workers(2)
    assert not wants_workers(1)
    monkeypatch.setattr(processes, "usable_cores", lambda: [0])
    assert not wants_workers(None)
    monkeypatch.setattr(processes, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(processes, "_GPU_DEVICES", (str(Path(__file__)),))
    assert not wants_workers(None)
