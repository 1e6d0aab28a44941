"""A benchmark of MTEB: only its tasks, splits and subsets are read, and models are ranked on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolwise.errors import ConfigError
from poolwise.foreign import Inputs, compare_inputs, read_inputs
from poolwise.foreign.benchmarks import Benchmark, Scope, scope_of
from poolwise.foreign.mteb_tasks import MtebTask
from poolwise.report import comparison_text
from unit.foreign.files import write_json, write_text, write_v2


def described(name: str, kind: str, category: object, **more: object) -> MtebTask:
    fields: dict[str, object] = {"splits": ("test",), "subsets": ("default",), "metric": "main", "kind": kind, **more}
    return MtebTask(name, category, **fields)  # type: ignore[arg-type]


TASKS = [
    described("STS12", "STS", "sts"),
    described("SciFact", "Retrieval", "retrieval"),
    described("SummEval", "Summarization", None),
    described("Parts", "Retrieval", "retrieval", parts=("PartA", "PartB")),
    described("Both", "STS", "sts", splits=("dev", "test"), subsets=("de", "fr")),
]
PARTS = [described(name, "Retrieval", "retrieval") for name in ("PartA", "PartB")]
SCOPE = Scope(Benchmark("Tiny", {task.name: task for task in TASKS}, {task.name: task for task in PARTS}))


def write_model(folder: Path, shift: float) -> None:
    for task, score in (("STS12", 0.5), ("SciFact", 0.4), ("SummEval", 0.3), ("PartA", 0.1), ("PartB", 0.3)):
        write_v2(folder, task, score + shift)
    write_v2(folder, "NQ", 0.9)
    rows = {
        split: [{"hf_subset": name, "languages": [f"{name}-Latn"], "main_score": part + shift} for name, part in found]
        for split, found in (
            ("dev", [("de", 0.1), ("fr", 0.2)]),
            ("test", [("de", 0.3), ("fr", 0.4), ("en", 0.9)]),
            ("train", [("de", 0.9), ("fr", 0.9)]),
        )
    }
    write_json(folder / "Both.json", {"task_name": "Both", "scores": rows})


def read(*paths: Path) -> Inputs:
    return read_inputs(paths, scope=SCOPE)


def test_only_the_tasks_splits_and_subsets_of_the_benchmark_count(tmp_path: Path) -> None:
    write_model(tmp_path / "m", 0.0)
    inputs = read(tmp_path / "m")
    assert {task: pytest.approx(record.score) for task, record in inputs.runs[0].scores.items()} == {
        "retrieval/Parts": 0.2,
        "retrieval/SciFact": 0.4,
        "sts/Both": 0.25,
        "sts/STS12": 0.5,
    }
    assert inputs.sources[0].other_scores == {"m": {"SummEval": [0.3]}}
    assert inputs.sources[0].left_out == {"not in Tiny": ["NQ"]}
    assert any("mean of its 2 parts" in note for note in inputs.notes)


def test_models_are_ranked_on_all_tasks_and_one_that_lacks_a_task_has_no_rank(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2)):
        write_model(tmp_path / name, shift)
    (tmp_path / "c" / "PartB.json").unlink()
    comparison = compare_inputs(read(tmp_path / "a", tmp_path / "b", tmp_path / "c"), [])
    found = comparison.benchmark
    assert found is not None
    assert [(row.name, row.rank, row.points) for row in found.rows] == [("b", 1, 5.0), ("a", 2, 0.0)]
    assert found.rows[1].mean == pytest.approx((0.5 + 0.4 + 0.3 + 0.2 + 0.25) / 5)
    assert found.rows[1].by_type == {"STS": 0.375, "Retrieval": pytest.approx(0.3), "Summarization": 0.3}
    assert found.rows[1].mean_of_types == pytest.approx((0.375 + 0.3 + 0.3) / 3)
    assert found.incomplete == {"c": ["Parts"]}
    assert found.groups == [["b", "a"]]
    text = comparison_text(comparison)
    assert "Not separated: b, a." in text
    assert "c has no rank: it lacks 1 of 5 tasks (Parts)." in text


def test_a_file_without_all_splits_and_subsets_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "m", 0.0)
    row = {"hf_subset": "de", "languages": ["deu-Latn"], "main_score": 0.5}
    write_json(tmp_path / "m" / "Both.json", {"task_name": "Both", "scores": {"test": [row]}})
    assert read(tmp_path / "m").sources[0].left_out["the file lacks 3 of 4 scores, such as dev de"] == ["Both"]


def test_tables_are_cut_to_the_tasks_of_the_benchmark(tmp_path: Path) -> None:
    path = write_text(tmp_path / "t.csv", "task,a,b", "STS12,.5,.6", "NQ,.1,.2", "Both,.3,.4", "SummEval,.7,.8")
    inputs = read(path)
    assert [list(run.scores) for run in inputs.runs] == [["sts/Both", "sts/STS12"]] * 2
    assert inputs.sources[0].other_scores == {"a": {"SummEval": [0.7]}, "b": {"SummEval": [0.8]}}
    assert not any("no category given" in note for note in inputs.notes)
    assert inputs.sources[0].left_out == {"not in Tiny": ["retrieval/NQ"]}


def test_brights_split_is_read(tmp_path: Path) -> None:
    rows = [
        {"hf_subset": name, "languages": ["eng-Latn"], "main_score": score, "ndcg_at_10": score}
        for name, score in (("biology", 0.2), ("pony", 0.4))
    ]
    write_json(
        tmp_path / "m" / "BrightRetrieval.json",
        {"task_name": "BrightRetrieval", "scores": {"long": rows[:1], "standard": rows}},
    )
    inputs = read_inputs([tmp_path / "m"])
    assert inputs.runs[0].scores["retrieval/BrightRetrieval"].score == pytest.approx(0.3)
    assert any("split standard, the mean of 2 English subsets" in note for note in inputs.notes)


def test_a_benchmark_and_a_language_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="both given"):
        scope_of("MTEB(eng, v2)", "deu")


def test_a_missing_mteb_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mteb", None)
    with pytest.raises(ConfigError, match="need mteb, which is not installed; pip install mteb"):
        scope_of("MTEB(eng, v2)")
