"""The plan of a screen, its choice, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from poolwise.config import build_recipe
from poolwise.design import ALL_DESIGNS, POOLINGS
from poolwise.errors import ConfigError
from poolwise.results import CategoryMean
from poolwise.screening import screen_plan
from poolwise.screening.screen import run_screened_study
from poolwise.screening.screen_estimate import require_disk
from poolwise.screening.screen_plan import plan_screen, screen_recipe
from poolwise.screening.trial import after_trial, trial_recipe
from poolwise.study.estimate import Estimate
from poolwise.study.plan import InputHashes
from poolwise.study.shortlist import mean_ranks, shortlist

RECIPE = {
    "name": "toy",
    "base": "poolwise/nano",
    "designs": ["last+causal", "mlp+causal", "mean+bidirectional"],
    "reference": "last+causal",
    "data": {"train": ["train.jsonl"]},
    "tasks": ["suite"],
}


def recipe(**changes):
    return build_recipe(RECIPE | changes)


def test_all_is_every_pooling_with_both_attentions() -> None:
    assert recipe(designs="all").designs == recipe(designs=["all"]).designs == list(ALL_DESIGNS)
    assert len(ALL_DESIGNS) == 2 * (len(POOLINGS) - 2) == 20
    assert not [name for name in ALL_DESIGNS if name.startswith(("soft_tokens", "landmark"))]
    assert recipe(designs=["all", "paper:2"]).designs == [*ALL_DESIGNS, "latent(keys=last)+causal"]
    with pytest.raises(ConfigError, match="listed twice"):
        recipe(designs=["all", "paper:1"])


def test_a_screen_freezes_the_base_and_compares_with_the_reference() -> None:
    tune = {"learning_rate": [1e-3, 1e-2], "steps": 1, "dev": ["dev"]}
    found = screen_recipe(recipe(tune=tune))
    assert (found.train.method, found.tune, found.comparisons) == ("frozen", None, ["reference"])
    with pytest.raises(ConfigError, match=r"train\.method is full"):
        screen_recipe(recipe(train={"method": "full"}))


def test_a_screen_by_training_is_a_study_at_one_seed_on_half_of_the_items() -> None:
    asked = recipe(seeds=[3, 1, 2], max_items=25, comparisons=["reference", "pooling_given_attention"])
    found = trial_recipe(asked)
    assert (found.seeds, found.max_items, found.comparisons) == ([3], 13, ["reference"])
    assert found.train == asked.train and found.designs == asked.designs
    assert trial_recipe(recipe()).max_items is None, "whole tasks have no half that is known beforehand"
    assert after_trial(asked).seeds == [1, 2]


def test_a_screen_by_training_tries_what_changes_the_input() -> None:
    assert (
        trial_recipe(recipe(designs=["last+causal", "mean(echo=true)+causal"])).designs[1] == "mean(echo=true)+causal"
    )


def test_a_study_needs_a_seed_of_its_own_after_a_screen_by_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seeds is \[0\], and a screen by training takes the first of them"):
        run_screened_study(recipe(seeds=[0]), 2, tmp_path / "out", by="training")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pooling", ["mean(echo=true)", "soft_tokens", "soft_tokens(count=3)", "landmark"])
def test_a_design_that_changes_what_the_base_reads_is_not_in_a_screen(pooling: str) -> None:
    with pytest.raises(ConfigError) as caught:
        screen_recipe(recipe(designs=["last+causal", f"{pooling}+causal", "mean+causal"]))
    assert f"cannot try {pooling}+causal: it stores the states of texts alone" in str(caught.value)


@pytest.fixture
def inputs(monkeypatch):
    monkeypatch.setattr(screen_plan, "screen_keys", lambda recipe, inputs, role: ((role, "text"),))
    hashes = InputHashes("b", {}, {0: "s0", 1: "s1"}, {"sts/toy": "t"}, {})
    return SimpleNamespace(base="poolwise/nano", hashes=hashes)


def test_the_base_is_read_once_an_attention_and_heads_need_its_states(inputs) -> None:
    jobs = plan_screen(screen_recipe(recipe()), inputs)
    by_id = {job.id: job for job in jobs}
    passes = [job.name for job in jobs if job.kind == "pass"]
    assert sorted(passes) == sorted(f"{a}/{r}" for a in ("causal", "bidirectional") for r in ("training", "evaluation"))
    for place, job in enumerate(jobs):
        assert all(jobs.index(by_id[need]) < place for need in job.needs), job.label
    trained = next(job for job in jobs if job.label == "train mlp+causal, seed 1")
    assert [by_id[need].name for need in trained.needs] == ["causal/training"]
    scored = next(job for job in jobs if job.label == "eval mlp+causal, seed 1")
    assert {by_id[need].label for need in scored.needs} == {"train mlp+causal, seed 1", "pass causal/evaluation"}
    fixed = next(job for job in jobs if job.label == "eval last+causal, seed 1")
    assert "eval last+causal, seed 0" in {by_id[need].label for need in fixed.needs}
    assert len(by_id) == len(jobs)


def test_the_untuned_anchor_alone_needs_no_training_texts_of_its_attention(inputs) -> None:
    one = recipe(designs=["mean+bidirectional"], reference="mean+bidirectional")
    passes = {job.name for job in plan_screen(screen_recipe(one), inputs) if job.kind == "pass"}
    assert passes == {"bidirectional/training", "bidirectional/evaluation", "causal/evaluation"}


def means(**scores: dict[str, float]) -> list[CategoryMean]:
    return [
        CategoryMean(category=category, name=name, mean=mean, by_seed=[mean], num_tasks=1)
        for category, row in scores.items()
        for name, mean in row.items()
    ]


def test_mean_ranks_by_hand() -> None:
    table = means(sts={"a": 0.5, "b": 0.7, "c": 0.7}, retrieval={"a": 0.9, "b": 0.1})
    # sts: b and c share ranks 1 and 2, a is third; retrieval: a, b, and c without a score last.
    assert mean_ranks(table, ["a", "b", "c"]) == {"a": 2.0, "b": 1.75, "c": 2.25}


def test_a_shortlist_keeps_the_best_and_always_the_reference() -> None:
    ranks = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 4.0}
    assert shortlist(ranks, 2, "d") == ["b", "c", "d"]
    assert shortlist(ranks, 2, "c") == ["b", "c"]
    assert shortlist({"a": 1.0, "b": 1.0, "c": 1.0}, 1, "c") == ["a", "c"]


def test_a_choice_that_leaves_nothing_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keeps all 3 designs"):
        run_screened_study(recipe(), 3, tmp_path / "out")
    (tmp_path / "study.json").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match="holds no screen"):
        run_screened_study(recipe(), 1, tmp_path)


def test_a_full_disk_is_said_before_the_first_pass(tmp_path: Path) -> None:
    require_disk(Estimate([], {}, 1.0, disk_gib=1e-6), tmp_path / "new" / "folder")
    with pytest.raises(ConfigError, match="GiB free"):
        require_disk(Estimate([], {}, 1.0, disk_gib=1e9), tmp_path)
