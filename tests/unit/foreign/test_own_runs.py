"""Runs and studies of our own among the inputs of a comparison."""

from __future__ import annotations

from pathlib import Path

from poolwise.foreign import read_inputs
from poolwise.records import RunManifest, items_path, save_record
from unit.foreign.files import write_json, write_v2
from unit.stats.designs.builders import values


def test_a_study_says_which_runs_are_not_read(tmp_path: Path) -> None:
    for name in ("a", "old"):
        folder = tmp_path / "runs" / name
        save_record(RunManifest(name=name, kind="trained", model="m", design="last+causal"), folder / "run.json")
        save_record(values("t", [0.1, 0.2]), items_path(folder, "retrieval/t"))
    write_json(tmp_path / "plan.json", {"runs": ["a", "b"]})
    inputs = read_inputs([tmp_path])
    assert [run.manifest.name for run in inputs.runs] == ["a"]
    assert inputs.sources[0].left_out == {"not run yet": ["b"], "not in the study's present plan": ["old"]}
    assert any("left out b: not run yet" in note for note in inputs.notes)
    assert read_inputs([tmp_path / "runs" / "a"]).sources[0].left_out == {}


def test_a_study_alone_is_compared_as_it_declared(tmp_path: Path) -> None:
    for name, design in (("a", "last+causal"), ("b", "mean+causal")):
        folder = tmp_path / "study" / "runs" / name
        save_record(RunManifest(name=name, kind="trained", model="m", design=design), folder / "run.json")
        save_record(values("t", [0.1, 0.2]), items_path(folder, "retrieval/t"))
    comparisons = ["reference", "attention_given_pooling"]
    recipe = write_json(tmp_path / "study" / "study.json", {"reference": "mean+causal", "comparisons": comparisons})
    assert read_inputs([tmp_path / "study"]).declared == ("mean+causal", comparisons)
    # Beside other models there is no family that was declared for all, and of runs alone none at all.
    other = write_v2(tmp_path / "m", "SciFact", 0.6).parent
    assert read_inputs([tmp_path / "study", other]).declared is None
    assert read_inputs([tmp_path / "study" / "runs"]).declared is None
    # A reference that has not run yet is none.
    write_json(recipe, {"reference": "last+bidirectional", "comparisons": comparisons})
    assert read_inputs([tmp_path / "study"]).declared == (None, ["attention_given_pooling"])


def test_one_file_under_two_names_is_two_models(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("model,task,score,category\n" + "".join(f"m,t{k},0.{k},retrieval\n" for k in range(1, 4)))
    inputs = read_inputs([], names={"A": table, "B": table})
    assert [run.manifest.label for run in inputs.runs] == ["A", "B"]
    assert inputs.notes[-1] == "A and B have the same scores on all 3 tasks: are they one model?"
