"""Logs of traffic that runs elsewhere: columns, times, repeated imports, and rows that cannot be used."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from ab_folder import begun, design
from poolwise.errors import ConfigError, DataError
from poolwise.experiments import analyse, import_log, open_log
from poolwise.experiments.importing import _key
from poolwise.experiments.log import read_log

CSV = """user,arm,time,latency,click,rating,conversion,error
u1,A,2026-01-02T00:00:00Z,12.5,1,,,0
u2,B,1767225600,8,0,4,19.99,1
u3,A,2026-01-01T12:00:00,,,,,
"""


def events(folder: Path) -> list[tuple[str, float]]:
    return [(type(logged.event).__name__, logged.time) for logged in read_log(folder).events]


def test_a_csv_is_imported_in_the_order_of_time_and_once(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    (tmp_path / "t.csv").write_text(CSV)
    with open_log(folder) as log:
        first = import_log(log, tmp_path / "t.csv")
        again = import_log(log, tmp_path / "t.csv")
    assert (first.counted, first.repeated, first.set_aside) == (3, 0, [])
    assert (again.counted, again.repeated) == (0, 3)
    assert events(folder) == [
        ("Exposure", 1767225600.0),
        ("Feedback", 1767225600.0),
        ("Feedback", 1767225600.0),
        ("Exposure", 1767268800.0),
        ("Exposure", 1767312000.0),
        ("Feedback", 1767312000.0),
    ]
    found = [logged.event for logged in read_log(folder).events]
    assert found[0].error and found[0].latency == 8.0 and found[4].latency == 12.5
    assert [event.value for event in found if hasattr(event, "value")] == [4.0, 19.99, 1.0]


def test_a_parquet_file_with_other_columns(tmp_path: Path) -> None:
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    table = {"uid": [1, 2], "variant": ["A", "B"], "ts": [when, when], "clicked": [True, False], "before": [1.5, None]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    folder = begun(tmp_path / "ab")
    names = {"user": "uid", "arm": "variant", "time": "ts", "click": "clicked", "covariate": "before"}
    with open_log(folder) as log:
        assert import_log(log, tmp_path / "t.parquet", names).counted == 2
    assert [kind for kind, _ in events(folder)] == ["Exposure", "Feedback", "Exposure"]
    assert read_log(folder).events[0].event.covariate == 1.5


def test_equal_rows_are_exposures_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user,arm,time\nu,A,5\nu,A,5\n")
    with open_log(begun(tmp_path / "ab")) as log:
        assert import_log(log, tmp_path / "t.csv").counted == 2


def test_bad_rows_are_set_aside_with_their_lines(tmp_path: Path) -> None:
    lines = ["user,arm,time,click,rating", "u1,A,5,1,", "u2,C,6,,", ",A,7,,", "u4,A,noon,,", "u5,A,8,maybe,"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, "u6,A,nan,,", "u7,A,9,,x", "u8,A\n"]))
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        done = import_log(log, tmp_path / "t.csv")
    assert done.counted == 1
    told = "\n".join(done.set_aside)
    for words in (
        "t.csv:3: exposure",
        "arm 'C'",
        "t.csv:4: user is empty",
        "t.csv:5: time 'noon' is neither",
        "t.csv:6: click 'maybe' is neither 0 nor 1",
        "t.csv:7: time is nan",
        "t.csv:8: rating 'x' is not a number",
        "t.csv:9: 2 cells",
    ):
        assert words in told
    kept = [json.loads(line)["reason"] for line in (folder / "set-aside.jsonl").read_text().splitlines()]
    assert kept == done.set_aside
    assert len(events(folder)) == 2  # nothing of a bad row is written


def test_a_table_of_feedback_names_the_exposures(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("id,user,arm,time\ne1,u,A,5\ne2,v,B,6\n")
    (tmp_path / "f.csv").write_text("shown,event,time,value,item\ne1,click,7,,doc\ne2,rating,8,4,\ne9,click,9,,\n")
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        import_log(log, tmp_path / "e.csv")
        done = import_log(log, tmp_path / "f.csv", {"exposure": "shown"})
        again = import_log(log, tmp_path / "f.csv", {"exposure": "shown"})
    assert (done.counted, again.counted, again.repeated) == (2, 0, 2)
    assert "f.csv:4: feedback" in done.set_aside[0] and "is about exposure 'e9'" in done.set_aside[0]
    found = [logged.event for logged in read_log(folder).events][2:]
    assert [(one.exposure, one.event, one.value, one.item) for one in found] == [
        ("e1", "click", 1.0, "doc"),
        ("e2", "rating", 4.0, None),
    ]
    (tmp_path / "g.csv").write_text("exposure,event\ne1,click\n")
    with open_log(folder) as log, pytest.raises(DataError, match="it lacks time; wanted exposure, event and time"):
        import_log(log, tmp_path / "g.csv")


def test_files_in_any_order_and_in_any_parts_give_the_same_analysis(tmp_path: Path) -> None:
    """A night's table of exposures and one of its feedback are what many systems write."""
    draw = random.Random(0)
    shown, clicks = [], []
    for number in range(2400):
        arm, time = "AB"[number % 2], 1767225600 + 300 * number
        shown.append(f"e{number},u{number},{arm},{time}\n")
        if draw.random() < {"A": 0.3, "B": 0.45}[arm]:
            clicks.append(f"e{number},click,{time + 30}\n")
    early = sum(int(row[1 : row.index(",")]) < 1200 for row in clicks)
    heads = {"e": "id,user,arm,time\n", "f": "exposure,event,time\n"}
    tables = {
        "e": shown,
        "f": clicks,
        "e0": shown[:1200],
        "e1": shown[1200:],
        "f0": clicks[:early],
        "f1": clicks[early:],
    }
    for name, rows in tables.items():
        (tmp_path / f"{name}.csv").write_text(heads[name[0]] + "".join(rows))
    (tmp_path / "shuffled.csv").write_text(heads["e"] + "".join(draw.sample(shown, len(shown))))
    orders = [["e", "f"], ["e0", "f0", "e1", "f1"], ["e1", "f1", "e0", "f0"], ["shuffled", "f"]]
    found = []
    for number, names in enumerate(orders):
        folder = begun(tmp_path / f"ab{number}", design(window_hours=1.0))
        with open_log(folder) as log:
            for name in names:
                import_log(log, tmp_path / f"{name}.csv")
        found.append(analyse(folder, now=1767225600 + 300 * 2400))
    assert found[0].arms[1].decision == "superior"
    assert found[0].metrics[0].now.means == pytest.approx((0.3, 0.45), abs=0.03)
    for one in found[1:]:
        assert one == found[0]


def test_a_row_with_a_rating_that_is_impossible_leaves_no_exposure(tmp_path: Path) -> None:
    stars = {"name": "stars", "kind": "bounded", "event": "rating", "low": 1, "high": 5, "expected": 3, "margin": 0.2}
    (tmp_path / "t.csv").write_text("user,arm,time,rating\nu,A,5,9\nv,A,6,4\n")
    folder = begun(tmp_path / "ab", design(metrics=[stars]))
    with open_log(folder) as log:
        done = import_log(log, tmp_path / "t.csv")
    assert done.counted == 1 and "rating 9; metric stars takes 1 to 5" in done.set_aside[0]
    assert len(events(folder)) == 2


@pytest.mark.parametrize(
    ("text", "columns", "error", "message"),
    [
        ("user,variant,time\nu,A,5\n", {}, DataError, "it lacks arm; wanted user, arm and time; name yours with"),
        ("user,arm,time\nu,C,5\n", {}, DataError, "no row that can be used .1 set aside.; the first reason"),
        ("user,arm,time\n", {}, DataError, "no row that can be used"),
        ("user,arm,time\nu,A,5\n", {"users": "user"}, ConfigError, "did you mean 'user'"),
    ],
)
def test_a_file_of_no_use_is_refused(
    tmp_path: Path, text: str, columns: dict[str, str], error: type[Exception], message: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with open_log(begun(tmp_path / "ab")) as log, pytest.raises(error, match=message):
        import_log(log, tmp_path / "t.csv", columns)


@pytest.mark.parametrize(("given", "key"), [(17.0, "17"), (17, "17"), (" 17 ", "17"), (1.5, "1.5"), ("17.0", "17.0")])
def test_a_users_key_is_the_same_in_every_kind_of_table(given: object, key: str) -> None:
    assert _key(given) == key


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with open_log(begun(tmp_path / "ab")) as log:
        with pytest.raises(DataError, match="is no file"):
            import_log(log, tmp_path / "t.csv")
        (tmp_path / "t.txt").write_text("x")
        with pytest.raises(DataError, match="unknown kind of file"):
            import_log(log, tmp_path / "t.txt")
