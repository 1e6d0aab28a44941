"""The log: idempotent, cut-tolerant, one writer, and bound to its design."""

from __future__ import annotations

import json
import re
import threading
import zlib
from pathlib import Path

import pytest

from ab_folder import begun, design
from poolwise.errors import ConfigError, DataError
from poolwise.experiments import ConflictError, Feedback, UnknownExposureError, open_log
from poolwise.experiments import log as log_module
from poolwise.experiments.log import EVENTS, read_log


def click(exposure: str, name: str = "f1") -> Feedback:
    return Feedback(name, exposure, "click", 1.0)


def test_what_is_sent_twice_counts_once(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        exposure, first = log.expose("u", "A", id="e1", time=10.0)
        assert (first, log.expose("u", "A", id="e1", time=11.0)[1]) == ("counted", "repeated")
        assert (log.feedback(click("e1")), log.feedback(click("e1"))) == ("counted", "repeated")
    with open_log(folder) as log:  # also after a restart
        assert log.feedback(click(exposure.id)) == "repeated"
        with pytest.raises(ConflictError, match="'f1' was used before"):
            log.feedback(Feedback("f1", "e1", "rating", 3.0))
        with pytest.raises(ConflictError, match="'e1' was used before"):
            log.expose("u", "B", id="e1")
    assert [logged.number for logged in read_log(folder).events] == [1, 2]
    assert b"user-" not in (folder / EVENTS).read_bytes()


def test_values_of_zero_are_kept(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        log.expose("u", "A", id="e1", latency=0, covariate=0)
        log.feedback(Feedback("f1", "e1", "conversion", 0))
    exposure, feedback = (logged.event for logged in read_log(folder).events)
    assert (exposure.latency, exposure.covariate, feedback.value) == (0.0, 0.0, 0.0)
    with open_log(folder) as log:
        assert log.expose("u", "A", id="e1", latency=0, covariate=0)[1] == "repeated"
        assert log.feedback(Feedback("f1", "e1", "conversion", 0.0)) == "repeated"


def test_feedback_for_an_unknown_exposure_is_refused_by_name(tmp_path: Path) -> None:
    with open_log(begun(tmp_path / "ab")) as log:
        with pytest.raises(UnknownExposureError, match="'f1' is about exposure 'nope'"):
            log.feedback(click("nope"))
        log.expose("u", "A", id="e1")
        log.feedback(click("e1"))
        with pytest.raises(UnknownExposureError):  # feedback is no exposure
            log.feedback(click("f1", "f2"))


@pytest.mark.parametrize(
    ("event", "value", "message"),
    [
        ("like", 1.0, "event 'like'"),
        ("rating", float("nan"), "value is nan"),
        ("rating", 6.0, "stars takes 1 to 5"),
        ("click", 0.0, "click 0; wanted 1"),
        ("click", -5.0, "click -5; wanted 1"),
    ],
)
def test_feedback_that_does_not_fit_is_refused(tmp_path: Path, event: str, value: float, message: str) -> None:
    stars = {"name": "stars", "kind": "bounded", "event": "rating", "low": 1, "high": 5, "expected": 3, "margin": 0.2}
    with open_log(begun(tmp_path / "ab", design(metrics=[stars]))) as log:
        log.expose("u", "A", id="e1")
        with pytest.raises(DataError, match=message):
            log.feedback(Feedback("f1", "e1", event, value))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arm": "C"}, "arm 'C'; wanted one of A, B"),
        ({"arm": None}, "neither an arm and teams|neither"),
        ({"arm": "A", "latency": float("inf")}, "latency is inf"),
        ({"arm": "A", "latency": -1.0}, "0 or more"),
        ({"arm": "A", "covariate": float("nan")}, "covariate is nan"),
        ({"arm": None, "teams": {"doc": "C"}}, "arm 'C'"),
    ],
)
def test_exposures_that_do_not_fit_are_refused(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with open_log(begun(tmp_path / "ab")) as log, pytest.raises(DataError, match=message):
        log.expose("u", **fields)  # type: ignore[arg-type]


def test_a_log_cut_in_the_middle_of_a_line_loses_that_line_only(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        for number in range(4):
            log.expose(f"u{number}", "A", id=f"e{number}", time=float(number))
    path = folder / EVENTS
    path.write_bytes(path.read_bytes()[:-20])
    found = read_log(folder)
    assert [logged.event.id for logged in found.events] == ["e0", "e1", "e2"]
    assert len(found.problems) == 1 and "events.jsonl:5: the line was cut" in found.problems[0]
    with open_log(folder) as log:
        log.expose("u9", "B", id="e9", time=9.0)
    found = read_log(folder)
    assert [logged.event.id for logged in found.events] == ["e0", "e1", "e2", "e9"]
    assert len(found.problems) == 1


@pytest.mark.parametrize("place", range(1, 5))
def test_a_changed_line_is_left_out_and_named(tmp_path: Path, place: int) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        for number in range(4):
            log.expose(f"u{number}", "A", id=f"e{number}", time=float(number))
    path = folder / EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = lines[place].replace(b'"A"', b'"B"')
    path.write_bytes(b"".join(lines))
    found = read_log(folder)
    assert len(found.events) == 3
    assert f"events.jsonl:{place + 1}: the line was cut or changed" in found.problems[0]


def test_lines_that_are_gone_are_told(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        for number in range(4):
            log.expose(f"u{number}", "A", id=f"e{number}")
    path = folder / EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[4:]))
    assert "2 line(s) before it are missing" in read_log(folder).problems[0]


def test_a_design_that_was_changed_after_the_first_event_is_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    text = (folder / "design.yaml").read_text()
    (folder / "design.yaml").write_text(text.replace("alpha: 0.05", "alpha: 0.1"))
    with open_log(folder) as log:  # before the first event it may be edited
        log.expose("u", "A")
    (folder / "design.yaml").write_text(text)
    for call in (lambda: read_log(folder), lambda: open_log(folder).__enter__()):
        with pytest.raises(ConfigError, match="was changed after the first event"):
            call()


def test_a_log_that_lost_the_hash_of_its_design_says_so_and_gets_it_again(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        log.expose("u", "A", id="e1")
    path = folder / EVENTS
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    assert any("no line has the hash of the design" in problem for problem in read_log(folder).problems)
    with open_log(folder) as log:
        log.expose("u", "A", id="e2")
    contents = read_log(folder)
    assert [logged.event.id for logged in contents.events] == ["e1", "e2"] and contents.is_bound
    design_file = folder / "design.yaml"
    design_file.write_text(design_file.read_text().replace("alpha: 0.05", "alpha: 0.1"))
    with pytest.raises(ConfigError, match="was changed after the first event"):
        read_log(folder)


def test_a_full_disk_at_the_first_line_loses_no_hash_of_the_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(tmp_path / "ab")

    def full(_: bytes) -> None:
        raise OSError("no space")

    with open_log(folder) as log:
        write = log._write
        monkeypatch.setattr(log, "_write", full)
        with pytest.raises(OSError, match="no space"):
            log.expose("u", "A")
        monkeypatch.setattr(log, "_write", write)
        log.expose("u", "A")
    assert read_log(folder).is_bound


def test_arms_are_not_bound_again_where_the_line_that_bound_them_is_lost(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        log.bind({"A": "one", "B": "two"})
        log.expose("u", "A", id="e1")
    path = folder / EVENTS
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for lost in (b"".join([lines[0], lines[1].replace(b"one", b"own"), lines[2]]), b"".join([lines[0], lines[2]])):
        path.write_bytes(lost)
        with open_log(folder) as log, pytest.raises(ConfigError, match="no other tells which model arm A was"):
            log.bind({"A": "two", "B": "one"})
    path.write_bytes(whole + b"cut")  # an event; the models are known
    with open_log(folder) as log:
        log.bind({"A": "one", "B": "two"})


def test_an_arm_stays_the_model_that_it_was(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        log.bind({"A": "one", "B": "two"})
        log.expose("u", "A", id="e1")
    with open_log(folder) as log:
        log.bind({"A": "one", "B": "two"})
        for swapped in ({"A": "two", "B": "one"}, {"A": "one", "B": "three"}):
            with pytest.raises(ConfigError, match=r"arm . is model .*, and in the log so far it was"):
                log.bind(swapped)
        log.expose("u", "B", id="e2")
    contents = read_log(folder)
    assert (contents.problems, dict(contents.models)) == ([], {"A": "one", "B": "two"})
    assert [logged.number for logged in contents.events] == [2, 3] and contents.num_lines == 4


def test_the_last_event_is_on_the_disk_a_second_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = threading.Event()
    monkeypatch.setattr(log_module, "SYNC_SECONDS", 0.02)
    with open_log(begun(tmp_path / "ab")) as log:
        log.expose("u", "A")
        log.expose("v", "A")
        monkeypatch.setattr(log_module.os, "fsync", lambda _: flushed.set())
        log.expose("w", "A")
        assert flushed.wait(20)


def test_one_process_writes(tmp_path: Path) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder), pytest.raises(ConfigError, match="is in use by process"), open_log(folder):
        pass


def test_a_folder_without_a_design_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no experiment"), open_log(tmp_path):
        pass


def test_threads_share_a_log(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folder = begun(tmp_path / "ab")
    with open_log(folder) as log, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: log.expose(f"u{n}", "A", id=f"e{n % 50}", time=1.0), range(50)))
    found = read_log(folder)
    assert sorted(logged.number for logged in found.events) == list(range(1, 51)) and not found.problems


FIELDS = {"number": 2, "time": 11.0, "kind": "exposure", "id": "e2", "user": "u"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arm": "C"}, "arm 'C'"),
        ({"arm": "A", "colour": 1}, "exposure: 'colour' is 1"),
        ({"arm": "A", "": 1}, "exposure: '' is 1"),
        ({"arm": ["A"]}, "exposure: 'arm' is"),
        ({"arm": "A", "latency": 10**400}, "exposure: 'latency' is"),
        ({"arm": "A", "latency": 1e300}, "latency is 1e\\+300"),
        ({"arm": "A", "time": 1e300}, "in the years 1 to 9999"),
        ({"arm": "A", "time": "now"}, "exposure: 'time' is 'now'"),
        ({"kind": "other"}, "the kind is 'other'"),
        ({"kind": "feedback", "exposure": "e1"}, "is missing|'user' is"),
    ],
)
def test_a_line_with_a_right_checksum_must_be_an_event_of_the_design(tmp_path: Path, fields, message) -> None:
    folder = begun(tmp_path / "ab")
    with open_log(folder) as log:
        log.expose("u", "A", id="e1", time=10.0)
    body = json.dumps(FIELDS | fields).encode()[:-1]
    with (folder / EVENTS).open("ab") as file:
        file.write(body + b',"crc":"' + f'{zlib.crc32(body):08x}"}}\n'.encode())
    found = read_log(folder)
    assert [logged.event.id for logged in found.events] == ["e1"]
    assert len(found.problems) == 1 and re.search(rf"events\.jsonl:3: .*({message}).*left out", found.problems[0])


@pytest.mark.parametrize("body", [b"{", b"[1", b"\xff{", b'{"number":true,"kind":"design"', b"[" * 5000])
def test_a_line_with_a_right_checksum_that_is_no_json_is_left_out(tmp_path: Path, body: bytes) -> None:
    folder = begun(tmp_path / "ab")
    (folder / EVENTS).write_bytes(body + b',"crc":"' + f'{zlib.crc32(body):08x}"}}\n'.encode())
    found = read_log(folder)
    assert found.events == [] and "was cut or changed" in found.problems[0]


def test_a_time_without_a_date_is_refused(tmp_path: Path) -> None:
    with open_log(begun(tmp_path / "ab")) as log, pytest.raises(DataError, match="in the years 1 to 9999"):
        log.expose("u", "A", time=1e300)
