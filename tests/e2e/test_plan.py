"""``poolwise plan`` and what ``poolwise study --dry-run`` says of a study's size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import poolwise, write_recipe
from support import ROOT

PILOT = ROOT / "docs" / "results" / "controlled"


@pytest.mark.slow
def test_a_plan_names_the_command_and_the_json_has_its_numbers(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    pilot = ("--pilot", PILOT)
    text = poolwise("plan", "toy.yaml", "--detect", "0.45", *pilot, cwd=tmp_path).stdout
    assert "with 8 tests corrected together" in text and f"variances: of controlled ({PILOT}" in text
    found = json.loads(poolwise("plan", "toy.yaml", "--detect", "0.45", *pilot, "--json", cwd=tmp_path).stdout)
    assert found["detect"] == 0.45 and [one["tasks"] for one in found["categories"]] == [1, 1, 1, 1]
    change = found["together"]
    seeds = ",".join(map(str, range(change["seeds"])))
    cap = "null" if change["max_items"] is None else change["max_items"]
    assert f'poolwise study toy.yaml --set "seeds=[{seeds}]" --set max_items={cap}' in text


@pytest.mark.slow
def test_a_dry_run_says_what_could_be_found_and_what_no_test_decides(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    found = poolwise("study", "toy.yaml", "--dry-run", "--set", "seeds=[0]", cwd=tmp_path).stdout
    assert "sts: one seed: no test can decide between designs" in found
    assert "which differences this study could find: poolwise plan toy.yaml" in found
    (tmp_path / "runs" / "toy-screen").mkdir(parents=True)
    (tmp_path / "runs" / "toy-screen" / "results.json").write_text((PILOT / "results.json").read_text())
    found = poolwise("study", "toy.yaml", "--dry-run", "--json", cwd=tmp_path).stdout
    lines = json.loads(found)["outlook"]
    assert len(lines) == 4 and all("could find a difference of about 0." in line for line in lines)
