"""Clocks that are set, files with wrong times and other time zones change no result."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ab_folder import START, begun, design, run_traffic
from poolwise.experiments import analyse, import_log, open_log
from poolwise.experiments.log import read_log
from poolwise.experiments.report import write_experiment_report
from poolwise.jobs import Job, Progress
from poolwise.study.study import run_study
from toy_study import toy_recipe

ZONES = ("UTC0", "EAST-14", "WEST+12")
"""As POSIX writes them, so that no database of zones is needed; the second is 14 hours ahead of UTC."""
TABLE = """user,arm,time,click
u1,A,2026-01-02T00:00:00Z,1
u2,B,2026-01-01T23:30:00+02:00,0
u3,A,2026-01-01T12:00:00,1
u4,B,1767225600,1
"""


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


def test_an_experiment_is_the_same_in_every_time_zone(tmp_path: Path, set_zone: Callable[[str], None]) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    found = []
    for zone in ZONES:
        set_zone(zone)
        folder = begun(tmp_path / zone)
        with open_log(folder) as log:
            import_log(log, tmp_path / "table.csv")
        run_traffic(folder, {"A": 0.2, "B": 0.5}, users=300)
        analysis = analyse(folder, now=START + 30 * 86400)
        write_experiment_report(analysis, design(), folder / "report.html")
        page = (folder / "report.html").read_text()
        found.append((read_log(folder).events, analysis.model_dump(), page))
    assert len(found[0][0]) > 300 and found[0][2]
    assert found[1] == found[0] and found[2] == found[0]


class Stops(Progress):
    """Keeps which jobs began; ends the study in a step of the last training where it is told to."""

    def __init__(self, is_ending: bool = False) -> None:
        self.began: list[str] = []
        self.is_ending = is_ending

    def job_started(self, job: Job) -> None:
        self.began.append(job.label)

    def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
        if self.is_ending and job.label == "train last+bidirectional, seed 0" and done == 2:
            raise KeyboardInterrupt


def test_a_study_resumes_whatever_the_clock_says(
    tmp_path: Path, set_zone: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy_recipe(tmp_path)
    whole = run_study(recipe, tmp_path / "whole", workers=1)
    stopped = Stops(is_ending=True)
    with pytest.raises(KeyboardInterrupt):
        run_study(recipe, tmp_path / "out", stopped, workers=1)
    for number, path in enumerate(sorted(tmp_path.rglob("*"))):
        moment = (0, 4_000_000_000)[number % 2]  # in 1970 and in 2096
        os.utime(path, (moment, moment))
    set_zone(ZONES[1])
    set_back = time.time() - 10 * 365 * 86400
    monkeypatch.setattr(time, "time", lambda: set_back)
    again = Stops()
    found = run_study(recipe, tmp_path / "out", again, workers=1)
    assert again.began == [stopped.began[-1], "eval last+bidirectional, seed 0"]
    assert json.loads(found.results.model_dump_json()) == json.loads(whole.results.model_dump_json())
