"""Shorter embeddings: what a trained model remembers, and the scores by dimension from records to report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import poolwise
import toys
from poolwise.config import EvalConfig, Recipe, TrainConfig, build_recipe
from poolwise.errors import ConfigError
from poolwise.models import load_model, trained_dimensions
from poolwise.records import iter_run_folders, load_run
from poolwise.report import comparison_text, write_comparison_report
from poolwise.report.dimensions import dimension_means, dimension_table
from poolwise.results import DimensionMean
from poolwise.storage.json_lines import iter_json_lines
from poolwise.study.inputs import load_inputs
from poolwise.study.single_evaluation import evaluate_single
from poolwise.study.single_training import build_single_run, train_single
from poolwise.study.study import run_study


def recipe(folder: Path, **train: object) -> Recipe:
    settings = {"steps": 2, "batch_size": 8, "max_tokens": 24, "precision": "fp32", "matryoshka": [64, 128]}
    return build_recipe(
        {
            "name": "nested",
            "base": "poolwise/nano",
            "designs": ["last+causal", "mean+causal"],
            "reference": "last+causal",
            "seeds": [0],
            "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
            "train": settings | train,
            "eval": {"precision": "fp32"},
            "tasks": [str(toys.write_suite(folder / "suite") / "sts")],
            "anchors": ["random"],
        }
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nested")
    run_study(recipe(folder), folder / "out", workers=1)
    return folder


def test_a_trained_model_remembers_its_dimensions(study: Path) -> None:
    for run in (study / "out" / "runs").glob("*-s0-*"):
        assert trained_dimensions(load_model(run)) == (64, 128, 256)


def test_scores_by_dimension_are_those_of_truncated_embeddings(study: Path) -> None:
    rows = [row for _, row in iter_json_lines(study / "suite" / "sts" / "toy-sts" / "test.jsonl")]
    runs = [run for run in map(load_run, iter_run_folders(study / "out")) if run.manifest.kind == "trained"]
    assert len(runs) == 2
    for run in runs:
        record = run.scores["sts/toy-sts"]
        assert list(record.by_dimension) == [64, 128, 256] and record.by_dimension[256] == record.score
        model = load_model(run.manifest.model, precision="fp32")
        for dimension in (64, 128):
            first, second = (
                model.encode([row[side] for row in rows], truncate_dim=dimension, normalize_embeddings=True)
                for side in ("sentence1", "sentence2")
            )
            expected = spearmanr((first * second).sum(axis=1), [row["score"] for row in rows]).statistic
            assert record.by_dimension[dimension] == pytest.approx(expected, abs=2e-3)
    random = load_run(next((study / "out" / "runs").glob("anchor-random-*"))).scores["sts/toy-sts"]
    assert random.by_dimension == {}


def test_the_report_has_a_table_of_scores_by_dimension(study: Path) -> None:
    page = (study / "out" / "report.md").read_text()
    head = "| Design | Category | 64 | 128 | 256 |"
    assert head in page
    runs = {run.manifest.design: run for run in map(load_run, iter_run_folders(study / "out"))}
    scores = runs["mean+causal"].scores["sts/toy-sts"].by_dimension
    assert f"| {scores[64]:.4f} | {scores[128]:.4f} | {scores[256]:.4f} |" in page


def test_a_comparison_shows_them_too(study: Path, tmp_path: Path) -> None:
    runs = [load_run(run) for run in iter_run_folders(study / "out")]
    comparison = poolwise.compare(study / "out", num_resamples=100)
    text = comparison_text(comparison, runs)
    page = write_comparison_report(comparison, runs, tmp_path).with_suffix(".md").read_text()
    (means,) = [run.scores["sts/toy-sts"].by_dimension for run in runs if run.manifest.design == "mean+causal"]
    assert "Score by embedding dimension" in text and all(f"{score:.4f}" in text for score in means.values())
    assert "| Design | Category | 64 | 128 | 256 |" in page


def test_means_by_dimension_are_of_tasks_that_all_models_have(study: Path) -> None:
    first, second = (run for run in map(load_run, iter_run_folders(study / "out")) if run.manifest.kind == "trained")
    record = first.scores["sts/toy-sts"]
    one, two = (record.model_copy(update={"by_dimension": found}) for found in ({64: 0.25, 128: 0.5}, {64: 0.75}))
    runs = [
        first.model_copy(update={"scores": {"sts/a": one, "sts/b": two}}),
        second.model_copy(update={"scores": {"sts/b": two}}),
    ]
    found = {(mean.name, mean.dimension): mean.mean for mean in dimension_means(runs)}
    names = [run.manifest.label for run in runs]
    assert found == {(names[0], 64): 0.75, (names[1], 64): 0.75, (names[0], 128): 0.5}
    apart = [runs[0].model_copy(update={"scores": {"sts/a": one}}), runs[1]]
    assert {mean.dimension for mean in dimension_means(apart)} == {128}


def test_poolwise_eval_scores_the_dimensions_of_a_model_too(study: Path) -> None:
    run = next(run for run in iter_run_folders(study / "out") if load_run(run).manifest.design == "mean+causal")
    config = EvalConfig(precision="fp32")
    tasks = [str(study / "suite" / "sts")]
    _, (scores,) = evaluate_single(str(run / "model"), tasks, None, None, config, lambda *_: None)
    assert scores.by_dimension == pytest.approx(load_run(run).scores["sts/toy-sts"].by_dimension, abs=1e-6)


def test_a_dimension_above_the_width_is_one_error_before_the_first_job(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.matryoshka has 300; wanted at most 256") as error:
        load_inputs(recipe(tmp_path, matryoshka=[64, 300]))
    assert "\n" not in str(error.value)
    run = build_single_run(
        "mean+causal", "poolwise/nano", [str(tmp_path / "train.jsonl")], 1, 0, None, ["matryoshka=[300]"]
    )
    with pytest.raises(ConfigError, match=r"train\.matryoshka has 300"):
        train_single(run, tmp_path / "single", lambda *_: None)


def test_dimensions_are_sorted_and_checked_one_by_one() -> None:
    assert TrainConfig(matryoshka=[128, 64]).matryoshka == [64, 128]
    for wrong in ([0], [64, 64]):
        with pytest.raises(ValueError, match="dimensions"):
            TrainConfig(matryoshka=wrong)


def test_the_table_has_a_row_for_each_design_of_a_category_and_dashes_for_gaps() -> None:
    means = [
        DimensionMean(category="sts", name="a", dimension=128, mean=0.5),
        DimensionMean(category="sts", name="a", dimension=64, mean=0.25),
        DimensionMean(category="retrieval", name="b", dimension=64, mean=0.125),
    ]
    table = dimension_table(means)
    assert table is not None
    assert [column.title for column in table.columns] == ["Design", "Category", "64", "128"]
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [["a", "STS", "0.2500", "0.5000"], ["b", "Retrieval", "0.1250", "–"]]
    assert dimension_table([]) is None
    assert np.allclose([row[3] for row in table.csv.rows], [0.5, 0.25, 0.125])  # type: ignore[union-attr,arg-type]
