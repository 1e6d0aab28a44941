"""The agreement of two rankings, worked out by hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from support import ROOT

spec = importlib.util.spec_from_file_location("screen_agreement", ROOT / "scripts" / "screen_agreement.py")
screen_agreement = importlib.util.module_from_spec(spec)
spec.loader.exec_module(screen_agreement)


def test_taus_by_hand(monkeypatch):
    monkeypatch.setattr(screen_agreement, "RESAMPLES", 200)
    first = {"sts": np.array([[0.1], [0.2], [0.3]]), "retrieval": np.array([[0.1, 0.3], [0.4, 0.2], [0.5, 0.9]])}
    second = {"sts": np.array([[0.1], [0.3], [0.2]]), "retrieval": np.array([[0.0, 0.0], [0.1, 0.1], [0.2, 0.2]])}
    rows = screen_agreement.agreement(first, second)
    # sts: of three pairs one is turned round. retrieval: means .2 .3 .7 against 0 .1 .2, all in order.
    assert rows["sts"]["tau"] == pytest.approx(1 / 3) and rows["sts"]["low"] is None
    assert rows["retrieval"]["tau"] == 1 and rows["retrieval"]["high"] == 1
    # The second task alone puts the first design above the second, so some draws fall to 1/3.
    assert rows["retrieval"]["low"] == pytest.approx(1 / 3)
    # Mean ranks 3 2 1 against 3, 1.5, 1.5: two pairs in order, one tied in one ranking: 2 / sqrt(3 * 2).
    assert rows[screen_agreement.OVERALL]["tau"] == pytest.approx(2 / np.sqrt(6))


def test_the_recorded_study_agrees_with_itself(monkeypatch):
    monkeypatch.setattr(screen_agreement, "RESAMPLES", 20)
    recorded = screen_agreement.load_results(ROOT / "docs" / "results" / "controlled")
    designs, tasks, one, two = screen_agreement.score_tables(recorded, recorded)
    assert len(designs) == len(recorded.designs)
    assert sum(map(len, tasks.values())) == len(recorded.tasks)
    rows = screen_agreement.agreement(one, two)
    assert all(row["tau"] == pytest.approx(1) and row["low"] in (None, pytest.approx(1)) for row in rows.values())
    assert "| overall" in screen_agreement.markdown(designs, rows, one, two)


def test_each_seed_is_compared_with_the_other_seeds(monkeypatch):
    recorded = screen_agreement.load_results(ROOT / "docs" / "results" / "controlled")
    lines = screen_agreement.between_seeds(recorded).splitlines()
    assert len(lines) == 2 + 3 and lines[0].startswith("| seed | ")
    # A study whose seeds 1 and 2 have the scores of seed 0 agrees with itself at every seed.
    at_0 = {(row.name, row.task): row.score for row in recorded.scores if row.seed == 0}
    same = [
        row.model_copy(update={"score": at_0[row.name, row.task]})
        for row in recorded.scores
        if (row.name, row.task) in at_0
    ]
    again = screen_agreement.between_seeds(recorded.model_copy(update={"scores": same})).splitlines()
    assert all(set(line.split(" | ")[1:]) == {"+1.00", "+1.00 |"} for line in again[2:]) and again != lines
