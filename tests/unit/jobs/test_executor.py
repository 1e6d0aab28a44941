"""The loop: what is done is not run again, what fails does not stop the rest, errors are explained.

Every test runs with each executor there is: the loop must not see a difference.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from poolwise.errors import DataError, ModelError
from poolwise.jobs import (
    Executor,
    InProcess,
    Job,
    JobKind,
    JobState,
    Progress,
    Report,
    is_done,
    load_state,
    run_jobs,
    state_path,
)
from poolwise.jobs.state import run_job
from poolwise.records import Cost, RunManifest, load_record, save_record
from poolwise.study.resume import unchecked

TRAIN = Job("train", "last+causal", 0, "k1", "run1", "last+causal")
EVAL = Job("eval", "last+causal", 0, "k2", "run1", "last+causal", (TRAIN.id,))
OTHER = Job("train", "mean+causal", 0, "k3", "run2", "mean+causal")


class InThreads:
    """Runs two jobs at a time, as an executor of several processes does, and keeps their order."""

    num_slots = 2

    def __init__(self, run: Callable[[Job, Report], None], out: Path) -> None:
        self.run, self.out, self.at_once, self.most = run, out, 0, 0
        self.lock = threading.Lock()

    def submit(self, job: Job, report: Report) -> Future[JobState]:
        future: Future[JobState] = Future()
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)

        def act() -> None:
            try:
                state = run_job(job, self.run, self.out, report)
            except BaseException as error:
                future.set_exception(error)
            else:
                with self.lock:
                    self.at_once -= 1
                future.set_result(state)

        threading.Thread(target=act).start()
        return future

    def __enter__(self) -> InThreads:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(params=[InProcess, InThreads])
def kind(request: pytest.FixtureRequest) -> Callable[..., Executor]:
    return request.param


class Recorder(Progress):
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def job_started(self, job: Job) -> None:
        self.events.append(("started", job.id))

    def job_finished(self, job: Job, seconds: float) -> None:
        self.events.append(("finished", job.id))

    def job_failed(self, job: Job, message: str) -> None:
        self.events.append(("failed", job.id))

    def job_skipped(self, job: Job, reason: str) -> None:
        self.events.append(("skipped", job.id))

    def of(self, job: Job) -> list[str]:
        return [event for event, job_id in self.events if job_id == job.id]


def run(kind: Callable[..., Executor], out: Path, errors: dict[str, BaseException]) -> tuple[dict[str, str], Recorder]:
    def act(job: Job, report: Report) -> None:
        if job.id in errors:
            raise errors[job.id]

    progress = Recorder()
    with kind(act, out) as executor:
        return run_jobs([TRAIN, EVAL, OTHER], out, executor, progress), progress


def test_a_second_run_does_nothing(kind: Callable[..., Executor], tmp_path: Path) -> None:
    failures, first = run(kind, tmp_path, {})
    assert failures == {}
    assert all(first.of(job) == ["started", "finished"] for job in (TRAIN, EVAL, OTHER))
    assert first.events.index(("finished", TRAIN.id)) < first.events.index(("started", EVAL.id))
    failures, second = run(kind, tmp_path, {})
    assert failures == {} and second.events == []


def test_a_failed_job_leaves_the_others_and_is_tried_again(kind: Callable[..., Executor], tmp_path: Path) -> None:
    failures, progress = run(kind, tmp_path, {TRAIN.id: DataError("row 3 is empty")})
    assert failures[TRAIN.label] == "row 3 is empty"
    assert failures[EVAL.label] == f"skipped: {TRAIN.label} failed"
    assert is_done(tmp_path, OTHER) and not is_done(tmp_path, TRAIN)
    assert progress.of(EVAL) == ["skipped"]
    failures, progress = run(kind, tmp_path, {})
    assert failures == {}
    assert progress.events[0] == ("started", TRAIN.id)


def test_an_interruption_passes_through_and_keeps_what_is_done(kind: Callable[..., Executor], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(kind, tmp_path, {EVAL.id: KeyboardInterrupt()})
    assert is_done(tmp_path, TRAIN)
    assert load_state(tmp_path, EVAL) is None


def test_jobs_run_in_the_order_of_the_plan_in_one_process(tmp_path: Path) -> None:
    _, progress = run(InProcess, tmp_path, {})
    assert progress.events == [(event, job.id) for job in (TRAIN, EVAL, OTHER) for event in ("started", "finished")]


def test_no_more_jobs_run_than_there_are_slots_and_none_beside_what_it_needs(tmp_path: Path) -> None:
    jobs = [Job("train", str(i), 0, f"t{i}", "") for i in range(5)]
    jobs += [Job("eval", str(i), 0, f"e{i}", "", needs=(jobs[i].id,)) for i in range(5)]
    ended: list[str] = []

    def act(job: Job, report: Report) -> None:
        assert {f"train-{need.split('-')[1]}" for need in job.needs} <= set(ended)
        report(1, 2, "half")
        ended.append(job.id)

    executor = InThreads(act, tmp_path)
    assert run_jobs(jobs, tmp_path, executor, Progress()) == {}
    assert sorted(ended) == sorted(job.id for job in jobs)
    assert executor.most == 2


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("known by the name of its class"),
    ],
)
def test_out_of_memory_names_the_settings_to_lower(
    kind: Callable[..., Executor], tmp_path: Path, error: Exception
) -> None:
    failures, _ = run(kind, tmp_path, {OTHER.id: error})
    assert "eval.batch_size" in failures[OTHER.label]
    assert "max_tokens" in failures[OTHER.label]


def test_what_training_says_of_memory_is_kept(kind: Callable[..., Executor], tmp_path: Path) -> None:
    error = ModelError("out of memory in training", hint="lower train.mini_batch_size (8)")
    failures, _ = run(kind, tmp_path, {OTHER.id: error})
    assert failures[OTHER.label] == str(error)


def test_a_bug_leaves_its_traceback(kind: Callable[..., Executor], tmp_path: Path) -> None:
    failures, _ = run(kind, tmp_path, {OTHER.id: ZeroDivisionError("division by zero")})
    assert "ZeroDivisionError" in failures[OTHER.label]
    assert "ZeroDivisionError" in (tmp_path / "jobs" / f"{OTHER.id}.traceback.txt").read_text()


WRITES = {TRAIN.id: ("model/weights", "training.jsonl"), EVAL.id: ("items/sts/a.json.gz", "items/sts/b.json.gz")}


def write_files(job: Job, folder: Path) -> None:
    for name in WRITES.get(job.id, ()):
        path = folder / "runs" / job.run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{job.id} {name}")
    if job == TRAIN:
        manifest = RunManifest(name="x", kind="trained", model="model")
        save_record(manifest, folder / "runs" / job.run / "run.json")
    if job == EVAL:  # as an evaluation does, which adds its cost
        path = folder / "runs" / job.run / "run.json"
        manifest = load_record(RunManifest, path)
        save_record(manifest.model_copy(update={"cost": Cost(eval_seconds=1.0)}), path)


class Noting(Recorder):
    def note(self, message: str) -> None:
        self.events.append(("note", message))


def run_writing(out: Path) -> tuple[dict[str, str], list[str], list[str]]:
    progress = Noting()
    with InProcess(lambda job, _: write_files(job, out), out) as executor:
        failures = run_jobs([TRAIN, EVAL, OTHER], out, executor, progress)
    ran = [name for event, name in progress.events if event == "started"]
    return failures, ran, [name for event, name in progress.events if event == "note"]


@pytest.mark.parametrize(
    ("name", "content", "again"),
    [
        ("model/weights", "another adapter", [TRAIN.id, EVAL.id]),
        ("model/weights", None, [TRAIN.id, EVAL.id]),
        ("training.jsonl", "", [TRAIN.id, EVAL.id]),
        ("items/sts/a.json.gz", "edited, x items/sts/b", [EVAL.id]),
        ("items/sts/a.json.gz", None, [EVAL.id]),
        ("run.json", "{}", [TRAIN.id, EVAL.id]),
    ],
)
def test_a_job_whose_files_changed_runs_again_and_a_note_names_the_file(
    tmp_path: Path, name: str, content: str | None, again: list[str]
) -> None:
    assert run_writing(tmp_path)[1:] == ([TRAIN.id, EVAL.id, OTHER.id], [])
    assert run_writing(tmp_path)[1:] == ([], [])
    path = tmp_path / "runs" / "run1" / name
    before = path.read_text()
    path.unlink() if content is None else path.write_text(content)
    failures, ran, notes = run_writing(tmp_path)
    assert failures == {} and ran == again
    assert str(path) in notes[0] and notes[0].endswith("runs again")
    assert path.read_text() == before
    assert run_writing(tmp_path)[1:] == ([], [])


def test_an_evaluation_reads_no_model_that_changed_since_its_training(tmp_path: Path) -> None:
    class Swaps(Noting):
        def job_finished(self, job: Job, seconds: float) -> None:
            if job == TRAIN:
                (tmp_path / "runs" / "run1" / "model" / "weights").write_text("another adapter")

    with InProcess(lambda job, _: write_files(job, tmp_path), tmp_path) as executor:
        failures = run_jobs([TRAIN, EVAL], tmp_path, executor, Swaps())
    assert failures == {EVAL.label: f"skipped: {TRAIN.label} failed"}
    assert run_writing(tmp_path)[1][:2] == [TRAIN.id, EVAL.id]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "dome", "seconds": 1}'])
def test_a_job_with_a_damaged_state_is_not_done(tmp_path: Path, text: str) -> None:
    run_writing(tmp_path)
    state_path(tmp_path, EVAL).write_text(text)
    failures, ran, _ = run_writing(tmp_path)
    assert failures == {} and ran == [EVAL.id]


def test_a_state_of_an_older_version_counts_without_checksums(tmp_path: Path) -> None:
    run_writing(tmp_path)
    for job in (TRAIN, EVAL, OTHER):
        path = state_path(tmp_path, job)
        stored = json.loads(path.read_text())
        path.write_text(json.dumps({key: stored[key] for key in ("status", "seconds", "error")}))
    (tmp_path / "runs" / "run1" / "model" / "weights").write_text("nobody can tell")
    assert run_writing(tmp_path)[1] == []
    (note,) = unchecked([TRAIN, EVAL, OTHER], tmp_path)
    assert note.startswith("3 of 3 finished jobs are of an older version")


@pytest.mark.parametrize("kind", ["adapt", "tune", "train"])
@pytest.mark.parametrize("failed", [False, True])
def test_what_an_interrupted_or_failed_job_wrote_is_there_when_it_resumes(
    tmp_path: Path, kind: JobKind, failed: bool
) -> None:
    job = Job(kind, "base", 0, "k", "run1")
    path = tmp_path / {"adapt": "adapted", "tune": "tuning", "train": "runs"}[kind] / "run1" / "model" / "checkpoint"
    found: list[bool] = []

    def act(job: Job, report: Report) -> None:
        found.append(path.is_file())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        if len(found) == 1:
            raise DataError("later") if failed else KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        run_jobs([job], tmp_path, InProcess(act, tmp_path), Progress())
    run_jobs([job], tmp_path, InProcess(act, tmp_path), Progress())
    assert found == [False, True]
    path.write_text("damaged")  # now it is done, and begins anew
    run_jobs([job], tmp_path, InProcess(act, tmp_path), Progress())
    assert found == [False, True, False]


def test_states_of_a_pass_are_compared_only_where_a_job_reads_them(tmp_path: Path) -> None:
    reading = Job("pass", "causal/training", 0, "k0", "v1/causal-1")
    head = Job("train", "mean+causal", 0, "k1", "run1", "mean+causal", (reading.id,))
    ran: list[str] = []

    def act(job: Job, report: Report) -> None:
        ran.append(job.id)
        folder = tmp_path / ("states/v1/causal-1" if job == reading else "runs/run1/head")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text(job.id)

    for _ in range(2):
        run_jobs([reading, head], tmp_path, InProcess(act, tmp_path), Progress())
    assert ran == [reading.id, head.id]
    shutil.rmtree(tmp_path / "states")  # all that read them is done
    run_jobs([reading, head], tmp_path, InProcess(act, tmp_path), Progress())
    assert ran == [reading.id, head.id]
    (tmp_path / "runs" / "run1" / "head" / "file").unlink()
    run_jobs([reading, head], tmp_path, InProcess(act, tmp_path), Progress())
    assert ran == [reading.id, head.id] * 2
