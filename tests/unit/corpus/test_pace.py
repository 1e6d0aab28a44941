"""The time left follows the speed that is seen."""

from __future__ import annotations

from poolwise.corpus.pace import RECENT_REPORTS, Pace, Progress


def told(steps: list[tuple[float, int]], total: int | None) -> list[Progress]:
    found: list[Progress] = []
    clock = iter([seconds for seconds, _ in steps])
    pace = Pace(total, found.append, lambda: next(clock))
    for _, done in steps:
        pace.report(done)
    return found


def test_by_hand() -> None:
    first, second = told([(0, 0), (2, 20)], 100)
    assert first == Progress(0, 100, None, None)
    assert second == Progress(20, 100, 10.0, 8.0)


def test_it_follows_a_slow_down() -> None:
    fast = [(float(step), 100 * step) for step in range(RECENT_REPORTS)]
    slow = [(fast[-1][0] + 10 * step, fast[-1][1] + 10 * step) for step in range(1, RECENT_REPORTS + 1)]
    assert told(fast + slow, 10_000)[-1].rows_per_second == 1.0


def test_without_a_total_or_beyond_it_no_end_is_told() -> None:
    assert told([(0, 0), (1, 5)], None)[-1] == Progress(5, None, 5.0, None)
    assert told([(0, 0), (1, 5)], 3)[-1] == Progress(5, None, 5.0, None)
