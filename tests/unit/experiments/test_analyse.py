"""From a log to verdicts: what counts, what is set aside, and what each decision needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ab_folder import CLICKED, DAY, LATENCY, START, begun, design, run_traffic
from poolwise.experiments import Feedback, analyse, interleave, open_log
from poolwise.experiments.analyse import Analysis, _look_times
from poolwise.experiments.users import _steady


def result(found: Analysis, metric: str = "clicked"):  # type: ignore[no-untyped-def]
    return next(result for result in found.metrics if result.metric == metric)


@pytest.fixture(scope="module")
def better(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = begun(tmp_path_factory.mktemp("x") / "ab", design(metrics=[CLICKED, LATENCY]))
    run_traffic(folder, {"A": 0.3, "B": 0.45})
    return folder


def test_a_better_arm_is_superior_and_its_guard_is_safe(better: Path) -> None:
    found = analyse(better)
    assert found.arms[1].decision == "superior" and found.arms[0].decision is None
    now = result(found).now
    assert now.interval[0] < 0.15 < now.interval[1] and now.interval[0] > 0
    assert result(found, "latency").verdict == "safe"
    assert sum(now.users) == 1500 == sum(arm.users for arm in found.arms)
    assert found.split.is_right
    # The first verdict stays, and looks are the ends of days.
    assert result(found).decided_at == START + DAY * round((result(found).decided_at - START) / DAY)
    assert [round((look.time - START) / DAY, 6) for look in result(found).looks][:3] == [1, 2, 3]


def test_the_same_log_gives_the_same_result(better: Path) -> None:
    assert analyse(better) == analyse(better)


def test_a_look_sees_only_what_was_logged_by_then(better: Path) -> None:
    early, late = analyse(better, now=START + 4 * DAY), analyse(better)
    assert [look for look in result(late).looks if look.time <= result(early).looks[0].time] == result(early).looks[:1]


def test_a_worse_arm_is_stopped_before_the_week_is_over(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design(min_days=7))
    run_traffic(folder, {"A": 0.5, "B": 0.2}, days=3)
    assert analyse(folder).arms[1].decision == "stop for harm"
    folder = begun(tmp_path / "better", design(min_days=7))
    run_traffic(folder, {"A": 0.2, "B": 0.5}, days=3)
    assert analyse(folder).arms[1].decision == "continue"


def test_equal_arms_are_equivalent(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design(metrics=[CLICKED | {"margin": 0.2}]))
    run_traffic(folder, {"A": 0.3, "B": 0.3})
    assert analyse(folder).arms[1].decision == "equivalent"


def test_an_open_experiment_says_how_long_it_takes(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design(metrics=[CLICKED | {"margin": 0.02}]))
    run_traffic(folder, {"A": 0.3, "B": 0.33}, users=800, days=8)
    found = analyse(folder)
    assert found.arms[1].decision == "continue"
    assert found.users_per_day == pytest.approx(100, rel=0.05)
    assert 8 < found.arms[1].days_left < 1000
    assert any("assume" in note for note in found.notes)


def test_a_wrong_split_stops_everything(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        for number in range(800):
            log.expose(f"u{number}", "A" if number % 5 else "B", time=START + number * 60)
    found = analyse(folder)
    assert not found.split.is_right and found.arms[1].decision == "stop: split is wrong"


def test_direction_down_turns_the_verdict(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design(metrics=[CLICKED | {"direction": "down"}]))
    run_traffic(folder, {"A": 0.5, "B": 0.2})
    assert analyse(folder).arms[1].decision == "superior"


Row = tuple[str, str, float, list[tuple[str, float, float]]]


def write(folder: Path, rows: list[Row], *, in_order: bool = True) -> Analysis:
    """Write exposures (user, arm, hours, [(event, value, hours)]), all in the order of time; return the analysis."""
    steps: list[tuple[float, Any]] = []
    for number, (user, arm, hours, events) in enumerate(rows):
        steps.append((hours, (user, arm, f"e{number}")))
        feedback = [(later, Feedback(f"f{number}-{n}", f"e{number}", *what)) for n, (*what, later) in enumerate(events)]
        steps += feedback
    with open_log(folder) as log:
        for hours, what in sorted(steps, key=lambda step: step[0]) if in_order else steps:
            time = START + hours * 3600
            if isinstance(what, Feedback):
                log.feedback(what, time)
            else:
                log.expose(*what[:2], id=what[2], time=time)
    return analyse(folder)


def test_a_user_counts_once_with_what_the_window_holds(tmp_path: Path) -> None:
    spent = {"name": "spent", "kind": "mean", "event": "conversion", "margin": 1.0}
    rate = {"name": "rate", "kind": "ratio", "event": "click", "margin": 0.1}
    folder = begun(tmp_path / "ab", design(metrics=[CLICKED, spent, rate], min_users=2))
    found = write(
        folder,
        [
            # Two clicks of one user count once in the rate of users, twice per exposure.
            ("a1", "A", 0, [("click", 1, 1), ("click", 1, 2), ("conversion", 10, 3)]),
            ("a1", "A", 1, []),
            ("a2", "A", 2, [("click", 1, 40), ("conversion", 99, 41)]),  # after the window
            ("b1", "B", 3, [("conversion", 4, 4)]),
            ("b2", "B", 4, [("conversion", 8, 5)]),
            ("b3", "B", 100, [("click", 1, 101)]),
        ],
    )
    assert result(found).now.means == (0.5, pytest.approx(1 / 3))
    assert result(found, "spent").now.means == (5.0, 4.0)
    assert result(found, "rate").now.means == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    # At hour 48 the last user had not come.
    assert result(found).looks[1].users == (2, 2)


def test_without_a_window_everything_so_far_counts(tmp_path: Path) -> None:
    spent = {"name": "spent", "kind": "mean", "event": "conversion", "margin": 1.0}
    folder = begun(tmp_path / "ab", design(metrics=[spent], window_hours=None, min_users=2))
    rows = [(f"{arm}{n}", arm, float(n), [("conversion", n + 1.0, 30.0)]) for arm in "AB" for n in range(3)]
    found = write(folder, rows)
    first, last = result(found, "spent").looks[0], result(found, "spent").now
    assert first.means == (0.0, 0.0) and first.interval is None  # no variation is no certainty
    assert last.means == (2.0, 2.0)


def test_ratings_of_users_without_any_have_the_absent_value(tmp_path: Path) -> None:
    stars = {"name": "stars", "kind": "bounded", "event": "rating", "low": 1, "high": 5, "expected": 3, "margin": 1}
    for absent, mean in ((None, 2.5), (3, 3.5)):
        folder = begun(tmp_path / str(absent), design(metrics=[stars | {"absent": absent}], min_users=2))
        rows = [("a1", "A", 0, [("rating", 5, 1), ("rating", 3, 2)]), ("a2", "A", 0, []), ("b1", "B", 1, [])]
        found = write(folder, [*rows, ("b2", "B", 2, [])])
        assert result(found, "stars").now.means[0] == mean


def test_a_user_who_saw_two_arms_keeps_the_first_and_is_told(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design(min_users=2))
    found = write(folder, [("u", "A", 0, []), ("u", "B", 1, [("click", 1, 2)]), ("v", "B", 3, [])])
    assert [arm.users for arm in found.arms] == [1, 1]
    assert any("1 of 2 users saw more than one arm" in note for note in found.notes)


def written_by_a_clock(folder: Path, times: list[float]) -> Analysis:
    """Return the analysis of a log of exposures, each with a click a minute later, at the times of its clock."""
    told = iter([START, *(time for start in times for time in (start, start + 60))])  # the first: the design
    with open_log(folder, clock=lambda: next(told)) as log:
        for number in range(len(times)):
            exposure, _ = log.expose(f"u{number}", log.assign(f"u{number}").name)
            log.feedback(Feedback(f"f{number}", exposure.id, "click", 1.0))
    return analyse(folder)


@pytest.mark.parametrize("jump", [5 * 365 * DAY, -5 * 365 * DAY, 3 * DAY, -3 * DAY, -7200.0])
@pytest.mark.parametrize("place", [2, 50, 397])
def test_one_event_with_a_wrong_clock_moves_no_other(tmp_path: Path, jump: float, place: int) -> None:
    times = [START + number * 1800.0 for number in range(400)]
    right = written_by_a_clock(begun(tmp_path / "right", design(min_users=2)), times)
    times[place] += jump
    wrong = written_by_a_clock(begun(tmp_path / "wrong", design(min_users=2)), times)
    assert wrong.at == pytest.approx(right.at, abs=1860)
    assert abs(sum(result(wrong).now.users) - sum(result(right).now.users)) <= 1
    assert abs(wrong.start - right.start) <= 1800
    assert any("was set back or ahead: 2 events" in note for note in wrong.notes)


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    times = [START + number * 1800.0 for number in range(300)]
    back = [*times[:200], *(time - 6 * 3600 for time in times[200:])]
    found = written_by_a_clock(begun(tmp_path / "ab", design(min_users=2)), back)
    assert any("23 events have a time" in note and "by 19,860.0 s at most" in note for note in found.notes)
    assert found.at == back[-1] + 60 + DAY  # the window of the last user
    assert result(found).now.means == (1.0, 1.0)


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([], []),
        ([3], [3]),
        ([1, 2, 2, 5], [1, 2, 2, 5]),
        ([1, 2, 99, 3, 4], [1, 2, 2, 3, 4]),
        ([1, 2, -99, 3, 4], [1, 2, 2, 3, 4]),
        ([99, 1, 2, 3], [1, 1, 2, 3]),
        ([1, 2, 3, 0], [1, 2, 3, 3]),
        ([5, 6, 7, 1, 2], [5, 6, 7, 7, 7]),
        ([5, 6, 1, 2, 3], [1, 1, 1, 2, 3]),
    ],
)
def test_a_steady_clock_keeps_as_many_times_as_it_can(times: list[float], wanted: list[float]) -> None:
    assert _steady(np.array(times, dtype=np.float64)).tolist() == wanted


def test_looks_at_the_ends_of_days_stay_looks() -> None:
    before: set[float] = set()
    for days in range(1, 900):
        looks = _look_times(START, START + days * DAY)
        assert before <= set(looks)
        before = {look for look in looks if look != looks[-1]}
    assert len(looks) < 200


def test_fast_failures_do_not_make_an_arm_faster(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab", design(metrics=[CLICKED, LATENCY], min_users=2))
    with open_log(folder) as log:
        for number in range(200):
            arm, is_error = "AB"[number % 2], number % 4 == 1
            latency = 1.0 if is_error else 100.0 + number % 7
            log.expose(f"u{number}", arm, time=START + number, latency=latency, error=is_error)
    means = result(analyse(folder), "latency").now.means
    assert means == pytest.approx((103, 103), abs=0.5)


def test_a_covariate_makes_the_interval_narrower(tmp_path: Path) -> None:
    spent = {"name": "spent", "kind": "mean", "event": "conversion", "margin": 1.0}
    widths = {}
    for has_covariate in (False, True):
        folder = begun(tmp_path / str(has_covariate), design(metrics=[spent], min_users=50))
        rng = np.random.default_rng(1)
        with open_log(folder) as log:
            for number in range(600):
                before = float(rng.lognormal(1, 1))
                arm = log.assign(f"u{number}").name
                given = before if has_covariate else None
                exposure, _ = log.expose(f"u{number}", arm, time=START + number * 600, covariate=given)
                value = before + float(rng.normal())
                log.feedback(Feedback(f"f{number}", exposure.id, "conversion", value), START + number * 600 + 60)
        now = result(analyse(folder), "spent").now
        widths[has_covariate] = now.interval[1] - now.interval[0]
    assert widths[True] < 0.6 * widths[False]


@pytest.mark.parametrize(("taste", "decision"), [("B", "superior"), ("A", "stop for harm")])
def test_interleaving_finds_the_preferred_arm(tmp_path: Path, taste: str, decision: str) -> None:
    liked = {"name": "liked", "kind": "preference", "event": "click", "margin": 0.1}
    folder = begun(tmp_path / "ab", design(metrics=[liked], min_users=50))
    rankings = {"A": [f"a{n}" for n in range(5)], "B": [f"b{n}" for n in range(5)]}
    rng = np.random.default_rng(2)
    with open_log(folder) as log:
        for number in range(400):
            teams = dict(interleave(rankings, 6, f"e{number}"))
            time = START + number * 900.0
            exposure, _ = log.expose(f"u{number % 300}", None, id=f"e{number}", time=time, teams=teams)
            wanted = taste if rng.random() < 0.75 else "AB".replace(taste, "")
            item = next(document for document, arm in teams.items() if arm == wanted)
            log.feedback(Feedback(f"f{number}", exposure.id, "click", 1.0, item), time + 5)
    found = analyse(folder)
    assert found.arms[1].decision == decision
    assert abs(abs(result(found, "liked").now.difference) - 0.5) < 0.12


def test_a_guard_without_any_event_is_safe_as_binary_and_unknown_as_ratio(tmp_path: Path) -> None:
    guard = {"event": "error", "direction": "down", "role": "guard", "margin": 0.05}
    binary = guard | {"name": "failed", "kind": "binary", "expected": 0.01}
    ratio = guard | {"name": "errors", "kind": "ratio"}
    folder = begun(tmp_path / "ab", design(metrics=[CLICKED, binary, ratio]))
    run_traffic(folder, {"A": 0.3, "B": 0.45})
    found = analyse(folder)
    assert result(found, "failed").verdict == "safe"
    assert result(found, "errors").verdict == "continue" and result(found, "errors").now.interval is None
    assert any(note.startswith("errors, B: no value or no variation in 1,500 users") for note in found.notes)


def test_an_experiment_without_events(tmp_path: Path) -> None:
    found = analyse(begun(tmp_path / "ab"))
    assert found.start is None and found.metrics == [] and found.arms[1].decision == "continue"
