"""Benchmarks against mteb: its definitions, and the table of its leaderboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poolwise.errors import ConfigError
from poolwise.foreign import compare_inputs, read_inputs, scope_of
from unit.foreign.files import write_json, write_v1

MODELS = ("intfloat/e5-base-v2", "BAAI/bge-base-en-v1.5", "thenlper/gte-base", "sentence-transformers/LaBSE")
"""Names that mteb knows: its table leaves out others. The scores are drawn at random."""


@pytest.mark.parametrize("name", ["MTEB(eng, v2)", "MTEB(deu, v1)", "BRIGHT"])
def test_means_and_ranks_are_those_of_mtebs_leaderboard(tmp_path: Path, name: str) -> None:
    import mteb
    import polars

    rng = np.random.default_rng(0)
    definition, scope, rows = mteb.get_benchmark(name), scope_of(name), []
    for model in MODELS:
        folder = tmp_path / model.replace("/", "__")
        for task in definition.tasks:
            scores: dict[str, list[dict[str, object]]] = {}
            for split in task.eval_splits:
                for subset in task.hf_subsets:
                    score = float(rng.integers(1, 9)) / 10
                    row = {"hf_subset": subset, "languages": ["eng-Latn"], "main_score": score}
                    scores.setdefault(split, []).append(row)
                    found = {"model_name": model, "task_name": task.metadata.name, "split": split, "subset": subset}
                    rows.append(found | {"score": score})
            scores["other"] = [{"hf_subset": "other", "languages": ["eng-Latn"], "main_score": 1.0}]
            write_json(folder / f"{task.metadata.name}.json", {"task_name": task.metadata.name, "scores": scores})
    expected = {row["Model"]: row for row in definition._create_summary_table(polars.DataFrame(rows)).df.to_dicts()}
    inputs = read_inputs(sorted(tmp_path.iterdir()), scope=scope)
    table = compare_inputs(inputs, []).benchmark
    assert table is not None and len(table.rows) == len(expected) == len(MODELS)
    for row in table.rows:
        theirs = expected[row.name]
        assert row.rank == theirs["Rank (Borda)"]
        assert row.mean == pytest.approx(theirs["Mean (Task)"], abs=1e-12)
        assert row.mean_of_types == pytest.approx(theirs["Mean (TaskType)"], abs=1e-12)
        assert {kind: pytest.approx(theirs[kind], abs=1e-12) for kind in row.by_type} == row.by_type


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no benchmark 'MTEB\(eng,v2\)'; did you mean 'MTEB\(eng, v2\)'"):
        scope_of("MTEB(eng,v2)")
    with pytest.raises(ConfigError, match=r"--language german.*did you mean 'deu'"):
        scope_of(language="german")


def test_a_language_is_read_by_mtebs_splits_and_subsets(tmp_path: Path) -> None:
    rows = [
        {"hf_subset": subset, "languages": languages, "main_score": score}
        for subset, languages, score in (
            ("de", ["deu-Latn"], 0.3),
            ("en", ["eng-Latn"], 0.9),
            ("de-en", ["deu-Latn", "eng-Latn"], 0.8),
        )
    ]
    write_json(tmp_path / "m" / "STS22.json", {"task_name": "STS22", "scores": {"test": rows, "train": rows[1:]}})
    inputs = read_inputs([tmp_path / "m"], scope=scope_of(language="deu"))
    assert {task: record.score for task, record in inputs.runs[0].scores.items()} == {"sts/STS22": 0.3}


def test_a_language_in_files_that_do_not_name_languages(tmp_path: Path) -> None:
    subsets = {name: {"cos_sim": {"spearman": score}} for name, score in (("de", 0.3), ("en", 0.9))}
    write_v1(tmp_path / "m", "STS22", {"test": subsets})
    write_v1(tmp_path / "m", "STS17", {"test": {"en": {"cos_sim": {"spearman": 0.9}}}})
    inputs = read_inputs([tmp_path / "m"], scope=scope_of(language="deu"))
    assert {task: record.score for task, record in inputs.runs[0].scores.items()} == {"sts/STS22": 0.3}
    assert "STS17" in str(inputs.sources[0].left_out)
