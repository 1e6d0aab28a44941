"""Early stopping in a study: shared batches, equal looks, records, keys and the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toys
from poolwise.config import Recipe, build_recipe, load_recipe
from poolwise.errors import ConfigError
from poolwise.models import load_model
from poolwise.records import Run, iter_run_folders, load_run
from poolwise.report.looks import looks_table
from poolwise.results import DesignLooks
from poolwise.study.inputs import load_inputs, load_stopping
from poolwise.study.jobs import dev_score
from poolwise.study.plan import plan_jobs
from poolwise.study.study import run_study
from unit.study.test_plan import HASHES, keys
from unit.study.test_plan import recipe as plain_recipe


def write(folder: Path) -> dict[str, Any]:
    pairs = toys.write_suite(folder / "suite") / "sts" / "toy-sts"
    (pairs / "dev.jsonl").write_text((pairs / "test.jsonl").read_text().replace("the ", "this "))
    return {
        "name": "stopped",
        "base": "poolwise/nano",
        "designs": ["last+causal", "mean+causal"],
        "reference": "last+causal",
        "seeds": [0],
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {
            "steps": 4,
            "batch_size": 8,
            "max_tokens": 24,
            "precision": "fp32",
            "learning_rate": 3e-3,
            "early_stopping": {"dev": [str(pairs) + "@dev"], "every": 1},
        },
        "eval": {"precision": "fp32"},
        "tasks": [str(pairs)],
        "anchors": [],
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    folder = tmp_path_factory.mktemp("stopped")
    recipe = build_recipe(write(folder))
    run_study(recipe, folder / "out", workers=1)
    return recipe, folder / "out"


def runs(out: Path) -> list[Run]:
    return [load_run(folder) for folder in iter_run_folders(out)]


def test_designs_share_batches_and_take_the_same_looks(study: tuple[Recipe, Path]) -> None:
    found = runs(study[1])
    assert len({run.manifest.hashes["schedule"] for run in found}) == 1
    assert [[look.step for look in run.manifest.looks] for run in found] == [[1, 2, 3, 4]] * 2


def test_the_saved_model_is_that_of_the_chosen_step(study: tuple[Recipe, Path]) -> None:
    recipe, out = study
    tasks = load_stopping(recipe, [])
    for run in runs(out):
        scores = {look.step: look.score for look in run.manifest.looks}
        assert len(set(scores.values())) > 1
        chosen = run.manifest.chosen_step
        assert chosen is not None and scores[chosen] == max(scores.values())
        found = dev_score(load_model(run.manifest.model, precision="fp32"), tasks, 24)
        assert found == pytest.approx(scores[chosen], abs=1e-3)


def test_the_report_says_which_step_was_kept(study: tuple[Recipe, Path]) -> None:
    page = (study[1] / "report.md").read_text()
    assert "Early stopping: the step whose weights were kept" in page
    for run in runs(study[1]):
        best = max(look.score for look in run.manifest.looks)
        assert f"| {run.manifest.design} | 0 | {run.manifest.chosen_step} | 4 | {best:.4f} |" in page


def test_test_items_are_refused_as_dev_tasks(tmp_path: Path) -> None:
    tree = write(tmp_path)
    tree["train"]["early_stopping"]["dev"] = tree["tasks"]
    with pytest.raises(ConfigError, match=r"train\.early_stopping\.dev uses sts/toy-sts"):
        load_inputs(build_recipe(tree))


def test_a_dev_path_is_relative_to_the_recipe(tmp_path: Path) -> None:
    tree = write(tmp_path)
    tree["train"]["early_stopping"]["dev"] = "suite/sts/toy-sts@dev"
    import yaml

    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    recipe = load_recipe(tmp_path / "r.yaml")
    assert [task.name for task in load_stopping(recipe, [])] == ["sts/toy-sts@dev"]


def test_dev_tasks_count_by_content_in_the_keys_of_trainings_only() -> None:
    tune = {"learning_rate": [1e-4, 1e-3], "steps": 2, "dev": ["d"]}

    def planned(dev: str, hashes: Any, **changes: Any) -> list[Any]:
        stopping = {"dev": [dev], "every": 5} | changes
        return plan_jobs(plain_recipe(train={"early_stopping": stopping}, tune=tune), hashes)

    hashes = replace(HASHES, stopping={"sts/d": "v1"})
    first = planned("d", hashes)
    assert keys(first, "train") == keys(planned("other/d", hashes), "train")
    for other in (planned("d", replace(HASHES, stopping={"sts/d": "v2"})), planned("d", hashes, every=6)):
        assert not set(keys(first, "train")) & set(keys(other, "train"))
    assert keys(first, "tune") == keys(plan_jobs(plain_recipe(tune=tune), HASHES), "tune")


def test_the_table_says_where_numbers_of_looks_differ() -> None:
    one = DesignLooks(design="a", seed=0, steps=[2, 4], scores=[0.5, 0.25], chosen_step=2)
    table = looks_table([one, one.model_copy(update={"seed": 1})])
    assert table is not None and "differ" not in table.note
    assert [cell.text for cell in table.rows[0]] == ["a", "0", "2", "2", "0.5000", "0.2500"]
    shorter = DesignLooks(design="b", seed=0, steps=[2], scores=[0.5], chosen_step=2)
    assert "the numbers of looks differ" in looks_table([one, shorter]).note  # type: ignore[union-attr]
    assert looks_table([]) is None
