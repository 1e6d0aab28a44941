"""How long a plan will still take, by a clock that the test sets."""

from __future__ import annotations

import pytest

from poolwise.jobs import Eta, Job


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def jobs(kind: str, count: int) -> list[Job]:
    return [Job(kind, f"{kind}{i}", 0, f"{kind}{i}", "") for i in range(count)]  # type: ignore[arg-type]


def plan(*parts: tuple[list[Job], float], num_slots: int = 1) -> tuple[Eta, Clock]:
    clock = Clock()
    seconds = {job.id: expected for of_kind, expected in parts for job in of_kind}
    return Eta([job for of_kind, _ in parts for job in of_kind], seconds, num_slots, clock), clock


def test_the_plan_is_believed_until_something_is_known() -> None:
    eta, clock = plan((jobs("train", 3), 100.0), (jobs("eval", 3), 20.0))
    assert eta.left() == 360.0
    eta.start(jobs("train", 1)[0])
    clock.now += 40
    assert eta.left() == pytest.approx(320.0)
    eta, _ = plan((jobs("train", 4), 100.0), num_slots=2)
    assert eta.left() == 200.0


def test_a_job_twenty_times_slower_than_planned_is_seen_with_its_first_report() -> None:
    (job,) = jobs("train", 1)
    eta, clock = plan(([job], 50.0))  # a second a step
    eta.start(job)
    seen = []
    for step in range(1, 51):
        clock.now += 20
        eta.advance(job, step, 50)
        seen.append(eta.left())
    assert seen[0] > 50.0 * 10
    for step, left in enumerate(seen[:-1], start=1):
        assert left == pytest.approx(20.0 * (50 - step), rel=0.01)
    assert seen[-1] >= 1.0


def test_a_job_that_tells_nothing_for_longer_than_its_plan_has_ever_more_left() -> None:
    (job,) = jobs("eval", 1)
    eta, clock = plan(([job], 10.0))
    eta.start(job)
    seen = []
    for _ in range(26):
        clock.now += 60
        seen.append(eta.left())
    assert seen == sorted(seen) and seen[0] > 10.0 and seen[-1] > 300.0


def test_a_slow_down_in_the_middle_of_a_job_shows_before_and_after_the_next_report() -> None:
    (job,) = jobs("train", 1)
    eta, clock = plan(([job], 100.0))
    eta.start(job)
    for step in range(1, 51):
        clock.now += 1
        eta.advance(job, step, 100)
    assert eta.left() == pytest.approx(50.0)
    before = eta.left()
    clock.now += 60  # no report
    assert eta.left() > 4 * before
    for step in range(51, 70):
        eta.advance(job, step, 100)
        clock.now += 30
    assert eta.left() == pytest.approx(30 * 31, rel=0.1)  # the first 50 steps are forgotten


def test_what_a_job_does_once_is_not_taken_for_its_rate() -> None:
    (job,) = jobs("train", 1)
    eta, clock = plan(([job], 10.0))
    eta.start(job)
    clock.now += 30  # a base is loaded
    eta.advance(job, 1, 100)
    clock.now += 0.1
    eta.advance(job, 2, 100)
    assert eta.left() == pytest.approx(9.8)
    # A checkpoint taken up: 90 steps were not done in 3 seconds.
    eta, clock = plan(([job], 100.0))
    eta.start(job)
    clock.now += 3
    eta.advance(job, 90, 100)
    assert eta.left() == pytest.approx(97.0)
    clock.now += 2
    eta.advance(job, 91, 100)
    assert eta.left() == pytest.approx(18.0)


def test_another_phase_of_a_job_has_a_rate_of_its_own() -> None:
    (job,) = jobs("eval", 1)
    eta, clock = plan(([job], 30.0))
    eta.start(job)
    for texts in range(1000, 5001, 1000):
        clock.now += 10
        eta.advance(job, texts, 5000)
    eta.advance(job, 0, 4)
    clock.now += 5
    assert 1.0 <= eta.left() <= 5.0
    eta.advance(job, 1, 4)
    assert eta.left() == pytest.approx(15.0)


def test_jobs_that_wait_take_the_pace_of_their_kind_and_the_last_counts_most() -> None:
    train, evaluation = jobs("train", 6), jobs("eval", 2)
    eta, clock = plan((train, 10.0), (evaluation, 10.0))
    for job, seconds in zip(train, (10.0, 10.0, 200.0, 200.0), strict=False):
        eta.start(job)
        clock.now += seconds
        eta.finish(job, seconds)
    with_evaluations = eta.left()
    for job in evaluation:
        eta.drop(job)
    # Two trainings are left: 20 s by the plan, 210 at the mean pace, 400 at that of the last.
    assert 250 < eta.left() < 400
    assert with_evaluations > eta.left() + 20  # of another kind, and expected to be slow as well
    for job in train[4:]:
        eta.drop(job)
    assert eta.left() == 0.0


def test_a_slow_job_is_no_longer_half_as_long_for_a_second_worker() -> None:
    (slow, _) = trains = jobs("train", 2)
    eta, clock = plan((trains, 10.0), num_slots=2)
    for job in trains:
        eta.start(job)
    clock.now += 10
    eta.finish(trains[1], 10.0)
    eta.advance(slow, 1, 101)
    assert eta.left() == pytest.approx(1000.0)
