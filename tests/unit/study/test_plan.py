"""Plans: which job each change of a recipe or an input touches."""

from dataclasses import replace
from typing import Any

from poolwise.config import Recipe, build_recipe
from poolwise.jobs import Job
from poolwise.study.plan import InputHashes, plan_jobs, run_folders

TREE: dict[str, Any] = {
    "name": "toy",
    "base": "b",
    "designs": ["paper:1", "mean+causal"],
    "reference": "paper:1",
    "seeds": [0, 1],
    "data": {"train": ["x"]},
    "tasks": ["t"],
}
HASHES = InputHashes(
    base="b0", data={"x": "d0"}, schedules={0: "s0", 1: "s1"}, tasks={"sts/t": "t0"}, dev={"sts/d": "v0"}
)


def recipe(**changes: Any) -> Recipe:
    return build_recipe(TREE | changes)


def keys(jobs: list[Job], kind: str) -> list[str]:
    return [job.key for job in jobs if job.kind == kind]


def test_jobs_come_after_what_they_need_and_ids_are_unique() -> None:
    tune = {"learning_rate": [1e-4, 1e-3], "steps": 2, "dev": ["d"]}
    jobs = plan_jobs(recipe(tune=tune), HASHES)
    seen: set[str] = set()
    for job in jobs:
        assert set(job.needs) <= seen
        seen.add(job.id)
    assert len(seen) == len(jobs)
    assert [job.kind for job in jobs] == ["anchor"] * 3 + ["tune"] * 2 + ["train", "eval"] * 4


def test_every_design_of_a_seed_comes_before_the_next_seed() -> None:
    trained = [(job.seed, job.name) for job in plan_jobs(recipe(), HASHES) if job.kind == "train"]
    assert trained == [(0, "last+causal"), (0, "mean+causal"), (1, "last+causal"), (1, "mean+causal")]


def test_a_change_of_tasks_leaves_training_alone() -> None:
    before = plan_jobs(recipe(), HASHES)
    after = plan_jobs(recipe(), replace(HASHES, tasks={"sts/t": "changed"}))
    assert keys(before, "train") == keys(after, "train")
    assert not set(keys(before, "eval")) & set(keys(after, "eval"))
    assert not set(keys(before, "anchor")) & set(keys(after, "anchor"))


def test_a_change_of_training_reaches_evaluation_but_not_the_anchors() -> None:
    before, after = plan_jobs(recipe(), HASHES), plan_jobs(recipe(train={"steps": 7}), HASHES)
    assert not set(keys(before, "train")) & set(keys(after, "train"))
    assert not set(keys(before, "eval")) & set(keys(after, "eval"))
    assert keys(before, "anchor") == keys(after, "anchor")


def test_base_and_batches_reach_training() -> None:
    before = keys(plan_jobs(recipe(), HASHES), "train")
    assert not set(before) & set(keys(plan_jobs(recipe(), replace(HASHES, base="b1")), "train"))
    other_batches = keys(plan_jobs(recipe(), replace(HASHES, schedules={0: "s0", 1: "changed"})), "train")
    assert [a == b for a, b in zip(before, other_batches, strict=True)] == [True, True, False, False]


def test_the_dtype_of_the_base_changes_every_key_and_fp32_none() -> None:
    changes = {"adapt": {"steps": 1}, "designs": ["paper:1", "mean+bidirectional"]}
    before, after = (plan_jobs(recipe(**changes), replace(HASHES, base_dtype=dtype)) for dtype in ("fp32", "bf16"))
    assert [job.key for job in before] == [job.key for job in plan_jobs(recipe(**changes), HASHES)]
    assert not {job.key for job in before} & {job.key for job in after}
    assert HASHES.by_part | {"the dtype of the base": "bf16"} == replace(HASHES, base_dtype="bf16").by_part
    # What is asked for and what it means here: only the second counts.
    assert plan_jobs(recipe(base_dtype="fp32"), HASHES) == plan_jobs(recipe(), HASHES)


def test_special_tokens_that_act_change_every_key() -> None:
    changes = {"adapt": {"steps": 1}, "designs": ["paper:1", "mean+bidirectional"]}
    split, act = (plan_jobs(recipe(**changes, split_special_tokens=value), HASHES) for value in (True, False))
    assert split == plan_jobs(recipe(**changes), HASHES)
    assert not {job.key for job in split} & {job.key for job in act}


def test_the_name_of_a_recipe_changes_no_key() -> None:
    assert plan_jobs(recipe(name="other"), HASHES) == plan_jobs(recipe(), HASHES)


def test_run_folders_leave_tuning_out_and_are_safe_names() -> None:
    tune = {"learning_rate": [1e-4, 1e-3], "steps": 2, "dev": ["d"]}
    folders = run_folders(plan_jobs(recipe(tune=tune), HASHES))
    assert len(folders) == len(set(folders)) == 3 + 4
    assert all("/" not in name and "-tune-" not in name for name in folders)
