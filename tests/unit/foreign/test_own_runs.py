"""Runs and studies of our own among the inputs of a comparison."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from poolwise.cli.main import main
from poolwise.errors import EvalError
from poolwise.foreign import compare_inputs, read_inputs
from poolwise.records import RunManifest, items_path, run_folder_name, save_items, save_record, seed_of_folder
from poolwise.stats.core.spending import look_shares
from poolwise.storage.checksums import checksums
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


DESIGNS = ("last+causal", "mean+causal")


def write_study_with_looks(folder: Path, runs: dict[str, list[int]]) -> None:
    """Write a study of five seeds at most, whose runs of these seeds are done, by design."""
    plan = [run_folder_name(design, seed, "0123456789") for seed in range(5) for design in DESIGNS]
    write_json(folder / "plan.json", {"runs": plan})
    recipe = {"designs": DESIGNS, "reference": DESIGNS[0], "comparisons": ["reference"], "seeds": list(range(5))}
    write_json(folder / "study.json", recipe | {"until_decided": True})
    for design, seeds in runs.items():
        for seed in seeds:
            run = folder / "runs" / run_folder_name(design, seed, "0123456789")
            save_record(
                RunManifest(name=run.name, kind="trained", model="m", design=design, seed=seed), run / "run.json"
            )
            scores = [0.1 + 0.01 * seed, 0.2, 0.3] if design == DESIGNS[0] else [0.5, 0.6 + 0.01 * seed, 0.7]
            save_record(values("t", scores), items_path(run, "retrieval/t"))


@pytest.mark.parametrize(
    ("done", "look", "left_out"),
    [
        (([0, 1], [0, 1]), 2, {}),
        (([0, 1, 2], [0, 1]), 2, {"of a seed after the last finished look": [f"{DESIGNS[0]}-s2-01234567"]}),
        (([0, 1, 2], [0, 1, 2]), 3, {}),
        (([0, 1], [0]), 2, {"not run yet": [f"{DESIGNS[1]}-s1-01234567"]}),
        (([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), 5, {}),
    ],
    ids=["stopped", "a seed half done", "third look", "before a look", "all seeds"],
)
def test_a_study_with_looks_is_judged_at_its_last_finished_look(
    done: tuple[list[int], list[int]], look: int, left_out: dict[str, list[str]], tmp_path: Path
) -> None:
    write_study_with_looks(tmp_path, dict(zip(DESIGNS, done, strict=True)))
    inputs = read_inputs([tmp_path])
    assert sorted({run.manifest.seed for run in inputs.runs}) == list(range(look))
    share = look_shares(5)[look]
    assert inputs.share == pytest.approx(share)
    assert compare_inputs(inputs, [tmp_path]).share == pytest.approx(share)
    assert any(
        f"judged after {look} of at most 5 seeds, with {0.05 * share:.2g} of the 0.05" in n for n in inputs.notes
    )
    assert inputs.sources[0].left_out == left_out


def test_a_folder_name_tells_its_seed() -> None:
    assert seed_of_folder(run_folder_name("mean-s3+causal", 12, "abcdef0123")) == 12
    assert seed_of_folder("mean+causal") is None


def test_one_file_under_two_names_is_two_models(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("model,task,score,category\n" + "".join(f"m,t{k},0.{k},retrieval\n" for k in range(1, 4)))
    inputs = read_inputs([], names={"A": table, "B": table})
    assert [run.manifest.label for run in inputs.runs] == ["A", "B"]
    assert inputs.notes[-1] == "A and B have the same scores on all 3 tasks: are they one model?"


@pytest.mark.parametrize(
    "wrong", [{"seeds": [[0]]}, {"seeds": ["0", 1, 2]}, {"comparisons": [None]}, {"designs": [1]}, {"reference": ["a"]}]
)
def test_a_recipe_of_other_types_is_named(tmp_path: Path, wrong: dict) -> None:
    folder = tmp_path / "runs" / run_folder_name("last+causal", 0, "0123abcd")
    save_record(RunManifest(name="a", kind="trained", model="m", design="last+causal"), folder / "run.json")
    save_record(values("t", [0.1, 0.2]), items_path(folder, "retrieval/t"))
    recipe = {"reference": "last+causal", "comparisons": [], "designs": ["last+causal"], "seeds": [0, 1]}
    write_json(tmp_path / "study.json", recipe | {"until_decided": True} | wrong)
    with pytest.raises(EvalError, match=r"study\.json is not the recipe of a study"):
        read_inputs([tmp_path])


def test_scores_that_no_job_of_the_study_wrote_are_set_aside(tmp_path: Path) -> None:
    """Of another run, for example, with the checksums that lie beside them there."""
    study, name = tmp_path / "study", "a-s0-01234567"
    for folder, scores in ((study / "runs" / name, [0.1, 0.2]), (tmp_path / "other", [0.8, 0.9])):
        save_record(RunManifest(name=name, kind="trained", model="m", design="last+causal"), folder / "run.json")
        for task in ("t", "u"):
            save_items(values(task, scores), folder)
    outputs = checksums(study, (study / "runs" / name / "items").rglob("*.json.gz"))
    first, *_ = outputs
    for number, known in enumerate((outputs, {first: "9:of an evaluation with other settings"})):
        write_json(study / "jobs" / f"eval-{number}.json", {"status": "done", "outputs": known})
    (study / "jobs" / "eval-2.json").write_text("no JSON")
    assert not read_inputs([study / "runs" / name]).notes

    shutil.copytree(tmp_path / "other" / "items", study / "runs" / name / "items", dirs_exist_ok=True)
    with pytest.raises(EvalError, match=r"items.* is not as a job of the study wrote it"):
        read_inputs([study / "runs" / name])
    assert not read_inputs([tmp_path / "other"]).notes  # a folder of its own is what it says


def test_what_a_job_wrote_and_is_gone_is_damage(toy_study: Path, tmp_path: Path) -> None:
    study = shutil.copytree(toy_study, tmp_path / "study")
    run = next((study / "runs").glob("last*"))
    whole = read_inputs([study])
    assert whole.damaged == []
    whole.require_whole()

    items = next(run.glob("items/*/*.json.gz"))
    items.unlink()
    (run / "items" / "checksums.json").unlink()
    lost = read_inputs([study])
    assert [error.got for error in lost.damaged] == [f"{items} is missing, though a job of the study wrote it"]
    with pytest.raises(EvalError, match=r"is missing, though.*repeat the command .* or give --set-aside"):
        lost.require_whole()

    shutil.rmtree(run)
    gone = read_inputs([study])
    assert [error.got for error in gone.damaged] == [f"{run}/run.json is missing, though a job of the study wrote it"]
    assert "not run yet" not in gone.sources[0].left_out
    assert run.name not in {name for names in gone.sources[0].left_out.values() for name in names}


def test_the_command_compares_without_damaged_scores_only_if_it_may(
    toy_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = shutil.copytree(toy_study, tmp_path / "study")
    shutil.rmtree(next((study / "runs").glob("last*")))
    codes = []
    for words in ([], ["--set-aside"]):
        monkeypatch.setattr(sys, "argv", ["poolwise", "compare", str(study), *words])
        with pytest.raises(SystemExit) as end:
            main()
        codes.append(end.value.code or 0)
    assert codes == [2, 0]
    said = capsys.readouterr().err
    assert "error: " in said and "run.json is missing, though a job of the study wrote it" in said
