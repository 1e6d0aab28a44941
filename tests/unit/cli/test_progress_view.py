"""What a study says on standard error where that is no terminal."""

from __future__ import annotations

import time

import pytest

from poolwise.cli import progress_view
from poolwise.cli.progress_view import ProgressView, StepView
from poolwise.jobs import Job

TRAIN = Job("train", "mean+causal", 0, "k1", "run", "mean+causal")
EVAL = Job("eval", "mean+causal", 0, "k2", "run", "mean+causal", (TRAIN.id,))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])  # of StepView
    return now


def test_a_job_slower_than_planned_never_has_nothing_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView(lambda: clock[0]) as view:
        view.started([TRAIN, EVAL], {TRAIN.id: 10.0, EVAL.id: 5.0}, 1)
        view.job_started(TRAIN)
        for step in range(1, 11):
            clock[0] += 60
            view.job_advanced(TRAIN, step, 10, "loss 1.0")
        view.job_finished(TRAIN, 600.0)
        assert "left" in view._left() and "nothing" not in view._left()
        view.job_started(EVAL)
        clock[0] += 100
        view.job_finished(EVAL, 100.0)
    said = capsys.readouterr().err
    assert "2 jobs, about 15 s" in said
    assert "about 0 s left" not in said
    # Eight steps of a minute, and an evaluation that will be slow as well.
    left = next(line for line in said.splitlines() if "2/10 loss" in line)
    assert "2/10 loss 1.0; about 1" in left and " min " in left
    assert said.splitlines()[-1].endswith("nothing left")


def test_a_job_that_is_skipped_is_said_and_not_waited_for(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressView(lambda: clock[0]) as view:
        view.started([TRAIN, EVAL], {TRAIN.id: 10.0, EVAL.id: 5.0}, 1)
        view.job_started(TRAIN)
        view.job_failed(TRAIN, "row [3] is empty")
        view.job_skipped(EVAL, "skipped: train mean+causal, seed 0 failed")
        assert view._left() == "nothing left"
        view.note("kept in /a/[b]")
    said = capsys.readouterr().err
    assert "row [3] is empty" in said and "eval mean+causal, seed 0: skipped" in said and "/a/[b]" in said
    assert view.num_failed == 1


def test_one_long_call_says_at_once_where_it_starts(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_view, "LINE_SECONDS", 20.0)
    with StepView("train mean+causal") as view:
        view.advance(20, 48, "resuming from step 20")
        clock[0] += 1
        view.advance(21, 48, "loss 1.0")
    said = capsys.readouterr().err
    assert "train mean+causal: 20/48 resuming from step 20" in said and "21/48" not in said
