"""The executor: what is done is not run again, what fails does not stop the rest, errors are explained."""

from pathlib import Path
from typing import Any

import pytest

from poolwise.errors import DataError, ModelError
from poolwise.study import executor
from poolwise.study.executor import Work, execute, is_done, load_state
from poolwise.study.plan import Job
from poolwise.study.progress import Progress

TRAIN = Job("train", "last+causal", 0, "k1", "run1", "last+causal")
EVAL = Job("eval", "last+causal", 0, "k2", "run1", "last+causal", (TRAIN.id,))
OTHER = Job("train", "mean+causal", 0, "k3", "run2", "mean+causal")


class Recorder(Progress):
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def job_started(self, job: Job) -> None:
        self.events.append(("started", job.id))

    def job_finished(self, job: Job, seconds: float) -> None:
        self.events.append(("finished", job.id))

    def job_failed(self, job: Job, message: str) -> None:
        self.events.append(("failed", job.id))


def run(
    monkeypatch: pytest.MonkeyPatch, out: Path, errors: dict[str, BaseException]
) -> tuple[dict[str, str], Recorder]:
    def act(job: Job, *_: Any) -> None:
        if job.id in errors:
            raise errors[job.id]

    monkeypatch.setattr(executor, "_run", act)
    progress = Recorder()
    nothing: Any = None
    return execute(Work([TRAIN, EVAL, OTHER], nothing, nothing, out), progress), progress


def test_a_second_run_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failures, first = run(monkeypatch, tmp_path, {})
    assert failures == {}
    assert [event for event, _ in first.events] == ["started", "finished"] * 3
    failures, second = run(monkeypatch, tmp_path, {})
    assert failures == {} and second.events == []


def test_a_failed_job_leaves_the_others_and_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failures, progress = run(monkeypatch, tmp_path, {TRAIN.id: DataError("row 3 is empty")})
    assert failures[TRAIN.label] == "row 3 is empty"
    assert failures[EVAL.label] == f"skipped: {TRAIN.label} failed"
    assert is_done(tmp_path, OTHER) and not is_done(tmp_path, TRAIN)
    assert ("started", EVAL.id) not in progress.events
    failures, progress = run(monkeypatch, tmp_path, {})
    assert failures == {}
    assert progress.events[0] == ("started", TRAIN.id)


def test_an_interruption_passes_through_and_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, {EVAL.id: KeyboardInterrupt()})
    assert is_done(tmp_path, TRAIN)
    assert load_state(tmp_path, EVAL) is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("known by the name of its class"),
    ],
)
def test_out_of_memory_names_the_settings_to_lower(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    failures, _ = run(monkeypatch, tmp_path, {OTHER.id: error})
    assert "eval.batch_size" in failures[OTHER.label]
    assert "max_tokens" in failures[OTHER.label]


def test_what_training_says_of_memory_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = ModelError("out of memory in training", hint="lower train.mini_batch_size (8)")
    failures, _ = run(monkeypatch, tmp_path, {OTHER.id: error})
    assert failures[OTHER.label] == str(error)


def test_a_bug_leaves_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failures, _ = run(monkeypatch, tmp_path, {OTHER.id: ZeroDivisionError("division by zero")})
    assert "ZeroDivisionError" in failures[OTHER.label]
    assert "ZeroDivisionError" in (tmp_path / "jobs" / f"{OTHER.id}.traceback.txt").read_text()
