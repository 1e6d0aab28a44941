"""Runs and studies of our own among the inputs of a comparison."""

from __future__ import annotations

from pathlib import Path

from poolwise.foreign import read_inputs
from poolwise.records import RunManifest, items_path, save_record
from unit.foreign.files import write_json
from unit.stats.builders import values


def test_a_study_says_which_runs_are_not_read(tmp_path: Path) -> None:
    for name in ("a", "old"):
        folder = tmp_path / "runs" / name
        save_record(RunManifest(name=name, kind="trained", model="m", design="last+causal"), folder / "run.json")
        save_record(values("t", [0.1, 0.2]), items_path(folder, "retrieval/t"))
    write_json(tmp_path / "plan.json", {"runs": ["a", "b"]})
    inputs = read_inputs([tmp_path])
    assert [run.manifest.name for run in inputs.runs] == ["a"]
    assert inputs.sources[0].left_out == {"not run yet": ["b"], "not of the study's present plan": ["old"]}
    assert any("left out b: not run yet" in note for note in inputs.notes)
    assert read_inputs([tmp_path / "runs" / "a"]).sources[0].left_out == {}
