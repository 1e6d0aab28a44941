"""An adapted base in a plan, in the records of a study, and where models find it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.errors import ConfigError, ModelError
from poolwise.jobs import Job
from poolwise.models import load_model
from poolwise.records import RunManifest, load_record
from poolwise.results import RESULTS_VERSION, StudyResults
from poolwise.screening import screen_plan
from poolwise.screening.screen_plan import plan_screen, screen_recipe
from poolwise.storage.fingerprints import fingerprint
from poolwise.study.inputs import load_inputs
from poolwise.study.jobs import check_controls
from poolwise.study.plan import ADAPT_READS, InputHashes, plan_jobs
from poolwise.study.study import plan_study, run_study
from tiny_models import save_tiny_base

TREE: dict[str, Any] = {
    "name": "toy",
    "base": "poolwise/nano",
    "designs": ["mean+causal", "mean+bidirectional", "last+bidirectional"],
    "reference": "mean+causal",
    "seeds": [0, 1],
    "data": {"train": ["x"]},
    "tasks": ["t"],
}
TUNE = {"learning_rate": [1e-4, 1e-3], "steps": 2, "dev": ["d"]}
HASHES = InputHashes("b0", {"x": "d0"}, {0: "s0", 1: "s1"}, {"sts/t": "t0"}, {"sts/d": "v0"}, adapt_texts="x0")
ADAPT: dict[str, Any] = {"steps": 3}


def recipe(**changes: Any) -> Recipe:
    return build_recipe(TREE | changes)


def adapt_key(hashes: InputHashes = HASHES, **changes: Any) -> str:
    (key,) = {job.key for job in plan_jobs(recipe(**{"adapt": ADAPT} | changes), hashes) if job.kind == "adapt"}
    return key


def by_label(jobs: list[Job]) -> dict[str, Job]:
    return {job.label: job for job in jobs}


def test_without_adaptation_keys_are_of_the_parts_they_were_always_of() -> None:
    plain = recipe(tune=TUNE)
    jobs = by_label(plan_jobs(plain, HASHES))
    dump = plain.model_dump(mode="json")
    common = {"version": RESULTS_VERSION, "base": "b0", "prompts": {}}
    scored = {"eval": dump["eval"], "max_items": None}
    design = {"design": "mean+bidirectional", "train": dump["train"], "seed": 0, "schedule": "s0"}
    tune = fingerprint(common | scored | {"tasks": HASHES.dev} | design | {"tune": dump["tune"]})
    train = fingerprint(common | design | {"tune": tune})
    assert jobs["tune mean+bidirectional"].key == tune
    assert jobs["train mean+bidirectional, seed 0"].key == train
    assert jobs["eval mean+bidirectional, seed 0"].key == fingerprint(scored | {"tasks": HASHES.tasks, "train": train})
    later = ("name", "adapt", "family", "base_dtype", "split_special_tokens", "until_decided", "price")
    known = {key: value for key, value in dump.items() if key not in later}
    assert plain.fingerprint == fingerprint(known)
    assert recipe(adapt=ADAPT).fingerprint != recipe().fingerprint


@pytest.mark.parametrize("tune", [None, TUNE])
def test_bidirectional_designs_wait_for_one_adaptation_and_causal_ones_do_not_know_it(tune: Any) -> None:
    before, after = (by_label(plan_jobs(recipe(tune=tune, adapt=adapt), HASHES)) for adapt in (None, ADAPT))
    assert after.keys() - before.keys() == {"adapt base"}
    adapt = after["adapt base"]
    for label, job in before.items():
        starts_adapted = job.kind in ("tune", "train") and "bidirectional" in label
        assert (adapt.id in after[label].needs) == starts_adapted
        assert (after[label].key == job.key) == ("bidirectional" not in label)
    seen: set[str] = set()
    for job in plan_jobs(recipe(tune=tune, adapt=ADAPT), HASHES):
        assert set(job.needs) <= seen
        seen.add(job.id)


def test_the_key_of_an_adaptation_is_of_what_can_change_it_and_of_nothing_else() -> None:
    changed = {
        "batch_size": 8,
        "learning_rate": 1e-5,
        "mask_share": 0.5,
        "mask_token": "x",
        "max_tokens": 9,
        "lora_rank": 2,
        "lora_alpha": 3,
        "seed": 4,
        "steps": 5,
    }
    train = {
        "warmup_ratio": 0.5,
        "weight_decay": 0.5,
        "max_grad_norm": 0.5,
        "gradient_checkpointing": True,
        "precision": "fp32",
        "method": "full",
    }
    assert train.keys() == {*ADAPT_READS, "method"}
    keys = [adapt_key(adapt=ADAPT | {name: value}) for name, value in changed.items()]
    keys += [adapt_key(train={name: value}) for name, value in train.items()]
    keys += [adapt_key(replace(HASHES, base="b1")), adapt_key(replace(HASHES, adapt_texts="x1")), adapt_key()]
    assert len(set(keys)) == len(keys)
    same = [adapt_key(seeds=[1]), adapt_key(train={"steps": 7}), adapt_key(train={"method": "frozen"})]
    same += [adapt_key(designs=["mean+causal", "mean+bidirectional"]), adapt_key(adapt=ADAPT | {"data": ["x"]})]
    assert set(same) == {adapt_key()}


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'adapt\.mask_shar'; did you mean 'mask_share'"):
        recipe(adapt={"mask_shar": 0.3})
    with pytest.raises(ConfigError, match=r"adapt\.mask_share"):
        recipe(adapt={"mask_share": 1.0})
    assert recipe(adapt={"data": "a.jsonl"}).adapt.data == ["a.jsonl"]  # type: ignore[union-attr]
    assert recipe(adapt={}).adapt is not None and recipe(adapt=None).adapt is None


def test_a_screen_reads_the_adapted_base_for_bidirectional_passes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_plan, "screen_keys", lambda recipe, inputs, role: ((role, "text"),))
    hashes = replace(HASHES, dev={})
    inputs: Any = SimpleNamespace(base="poolwise/nano", hashes=hashes)
    before, after = (by_label(plan_screen(screen_recipe(recipe(adapt=adapt)), inputs)) for adapt in (None, ADAPT))
    adapt = after["adapt base"]
    assert adapt.key == adapt_key(hashes)  # the study after a screen finds it there
    for label in before:
        assert (before[label].key == after[label].key) == ("bidirectional" not in label)
        assert (adapt.id in after[label].needs) == label.startswith("pass bidirectional")
    labels = list(after)
    assert labels.index("adapt base") < labels.index("pass bidirectional/training")


def manifest(name: str, base: str, adaptation: str = "") -> RunManifest:
    return RunManifest(name=name, kind="trained", model="m", hashes={"base": base}, adaptation=adaptation)


def test_the_base_is_compared_among_runs_that_start_alike() -> None:
    check_controls([manifest("a", "plain"), manifest("b", "other", "k"), manifest("c", "other", "k")])
    with pytest.raises(ModelError, match="b and c, seed 0, differ in base"):
        check_controls([manifest("a", "plain"), manifest("b", "other", "k"), manifest("c", "third", "k")])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    folder = tmp_path_factory.mktemp("study")
    tree = TREE | {
        # Knows every byte, so that the toy texts are more than unknown words.
        "base": save_tiny_base(folder / "base", "gpt2", with_head=True),
        "designs": ["mean+causal", "mean+bidirectional"],
        "seeds": [0],
        "anchors": [],
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {"steps": 1, "batch_size": 4, "max_tokens": 24},
        "eval": {"max_tokens": 24},
        "tasks": [str(toys.write_suite(folder / "suite") / "sts")],
        "adapt": {"steps": 2, "batch_size": 4, "max_tokens": 24, "learning_rate": 1e-2},
    }
    found = build_recipe(tree)
    run_study(found, folder / "out", workers=1)
    return folder / "out", found


def manifests(out: Path) -> dict[str, RunManifest]:
    found = [load_record(RunManifest, path) for path in (out / "runs").glob("*/run.json")]
    return {found.name: found for found in found}


def test_a_study_says_in_its_records_which_designs_start_from_the_adapted_base(study: tuple[Path, Recipe]) -> None:
    out, recipe = study
    runs, results = manifests(out), load_record(StudyResults, out / "results.json")
    info = results.results.adaptation
    assert info is not None and info.made.steps == 2 and info.curve.steps == [1, 2]
    assert info.made.num_texts == len(load_inputs(recipe).adapt_texts) == 144
    causal, adapted = runs["mean+causal"], runs["mean+bidirectional"]
    assert (causal.adaptation, adapted.adaptation) == ("", info.made.key)
    assert causal.hashes["lora_init"] == adapted.hashes["lora_init"]
    assert causal.hashes["base"] != adapted.hashes["base"]
    made = load_record(RunManifest, out / info.run / "run.json")
    assert made.hashes["base"] == causal.hashes["base"] and made.kind == "adapted"
    assert results.measured.costs[info.run] == made.cost and made.cost.train_peak_memory_gib
    state = json.loads((out / "jobs" / f"adapt-{info.made.key}.json").read_text())
    assert state["status"] == "done"
    notes = " ".join(results.results.comparison.notes)
    assert (
        "after 2 steps of masked next-token training" in notes and "causal designs start from the plain base" in notes
    )
    report = (out / "report.md").read_text()
    assert "Adaptation of the base" in report and "part of a difference may come from that training" in report
    estimate = plan_study(recipe)
    assert next(estimate.seconds[job.id] for job in estimate.jobs if job.kind == "adapt") > 0


def test_a_study_may_be_moved_and_says_what_is_missing(study: tuple[Path, Recipe], tmp_path: Path) -> None:
    out, _ = study
    shutil.copytree(out, tmp_path / "moved")
    (stored,) = (tmp_path / "moved" / "runs").glob("mean+bidirectional-*/model")
    base = Path(load_model(stored)[0].base)
    assert base.is_relative_to(tmp_path / "moved" / "adapted")
    (plain,) = (out / "runs").glob("mean+causal-*/model")
    assert not any("adapted" in place for place in json.loads((plain / "poolwise.json").read_text())["base_places"])
    # A model that was copied away alone still finds the study's own folder.
    shutil.copytree(stored, tmp_path / "alone")
    assert Path(load_model(tmp_path / "alone")[0].base).is_relative_to(out.resolve())
    config = json.loads((tmp_path / "alone" / "poolwise.json").read_text())
    config["base_places"][1] = "/nowhere/base"
    (tmp_path / "alone" / "poolwise.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"the base of .*alone is not here .*/nowhere/base.*move a study as a whole"):
        load_model(tmp_path / "alone")


def test_own_texts_take_the_place_of_those_of_training(study: tuple[Path, Recipe], tmp_path: Path) -> None:
    _, recipe = study
    (tmp_path / "texts.jsonl").write_text('{"text": "one text"}\n"another text"\n')
    assert recipe.adapt is not None
    adapt = recipe.adapt.model_copy(update={"data": [str(tmp_path / "texts.jsonl")]})
    own, plain = (load_inputs(found) for found in (recipe.model_copy(update={"adapt": adapt}), recipe))
    assert own.adapt_texts == ["one text", "another text"]
    assert own.hashes.adapt_texts != plain.hashes.adapt_texts
    assert load_inputs(recipe.model_copy(update={"adapt": None})).hashes.adapt_texts is None
