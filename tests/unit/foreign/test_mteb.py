"""MTEB's result files: layouts, the split and subset that count, revisions, self-reported scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolwise.errors import EvalError
from poolwise.foreign import Inputs, read_inputs
from poolwise.foreign.mteb_tasks import forums, known_task
from poolwise.records import Run
from unit.foreign.files import write_json, write_v1, write_v2


def only_run(inputs: Inputs) -> Run:
    (run,) = inputs.runs
    return run


def scores(inputs: Inputs) -> dict[str, float]:
    return {task: record.score for task, record in only_run(inputs).scores.items()}


def test_the_split_is_mtebs_own(tmp_path: Path) -> None:
    rows = {
        split: [{"hf_subset": "default", "languages": ["eng-Latn"], "main_score": score}]
        for split, score in (("train", 0.1), ("dev", 0.2), ("test", 0.3))
    }
    for task in ("MSMARCO", "FiQA2018"):
        write_json(tmp_path / "m" / "abc1234" / f"{task}.json", {"task_name": task, "scores": rows})
    assert scores(read_inputs([tmp_path / "m"])) == {"retrieval/FiQA2018": 0.3, "retrieval/MSMARCO": 0.2}


def test_only_the_english_subset_counts(tmp_path: Path) -> None:
    found = [("de", ["deu-Latn"], 0.9), ("en", ["eng-Latn"], 0.5), ("en-ext", ["eng-Latn"], 0.7)]
    rows = [{"hf_subset": name, "languages": langs, "main_score": score} for name, langs, score in found]
    task = "AmazonCounterfactualClassification"
    write_json(tmp_path / "m" / f"{task}.json", {"task_name": task, "scores": {"test": rows}})
    assert scores(read_inputs([tmp_path / "m"])) == {f"classification/{task}": 0.5}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"hf_subset": "de", "languages": ["deu-Latn"], "main_score": 0.9}], "no English subset"),
        ([{"hf_subset": "en-ext", "languages": ["eng-Latn"], "main_score": 0.9}], "subset en"),
        ([{"hf_subset": "en-de", "languages": ["eng-Latn", "deu-Latn"], "main_score": 0.9}], "no English subset"),
        ([{"hf_subset": "en", "languages": ["eng-Latn"], "main_score": None}], "no main score"),
    ],
)
def test_what_has_no_english_score_is_named(tmp_path: Path, rows: list[object], reason: str) -> None:
    task = "AmazonCounterfactualClassification"
    write_json(tmp_path / "m" / f"{task}.json", {"task_name": task, "scores": {"test": rows}})
    write_v2(tmp_path / "m", "SciFact", 0.6)
    inputs = read_inputs([tmp_path / "m"])
    assert list(scores(inputs)) == ["retrieval/SciFact"]
    assert any(reason in found and names == [task] for found, names in inputs.sources[0].left_out.items())
    assert any(reason in note and task in note for note in inputs.notes)


def test_the_old_layout(tmp_path: Path) -> None:
    folder = tmp_path / "old-model"
    write_v1(folder, "STSBenchmark", {"test": {"cos_sim": {"pearson": 0.1, "spearman": 0.8}, "evaluation_time": 3.0}})
    pair = {"cos_sim": {"ap": 0.6}, "max": {"ap": 0.7}, "dot": {"ap": 0.65}}
    write_v1(folder, "TwitterSemEval2015", {"test": pair})
    write_v1(folder, "ArxivClusteringP2P", {"test": {"v_measure": 0.4, "v_measure_std": 0.1}})
    write_v1(folder, "MassiveIntentClassification", {"test": {"de": {"accuracy": 0.3}, "en": {"accuracy": 0.6}}})
    write_v1(folder, "MSMARCO", {"dev": {"ndcg_at_10": 0.35}, "test": {"ndcg_at_10": 0.9}})
    write_v1(folder, "AskUbuntuDupQuestions", {"test": {"map": 0.55, "mrr": 0.7}})
    assert scores(read_inputs([folder])) == {
        "sts/STSBenchmark": 0.8,
        "pair_classification/TwitterSemEval2015": 0.7,
        "clustering/ArxivClusteringP2P": 0.4,
        "classification/MassiveIntentClassification": 0.6,
        "retrieval/MSMARCO": 0.35,
        "reranking/AskUbuntuDupQuestions": 0.55,
    }


def test_revisions_are_united_and_the_newest_wins(tmp_path: Path) -> None:
    model = tmp_path / "org__model"
    write_v2(model / "aaaaaaa", "SciFact", 0.6, mteb_version="1.13.5")
    write_v2(model / "aaaaaaa", "NQ", 0.4)
    write_v2(model / "bbbbbbb", "SciFact", 0.5, mteb_version="1.12.0-2.1.0")
    inputs = read_inputs([model])
    assert scores(inputs) == {"retrieval/NQ": 0.4, "retrieval/SciFact": 0.5}
    assert only_run(inputs).manifest.name == "org/model"
    assert sorted(inputs.sources[0].revisions["org/model"]) == ["aaaaaaa", "bbbbbbb"]
    assert any("SciFact is 0.5000 in revision bbbbbbb" in note and "0.6000" in note for note in inputs.notes)


def test_a_newer_file_without_english_does_not_hide_an_older_one(tmp_path: Path) -> None:
    write_v2(tmp_path / "m" / "aaaaaaa", "STS22", 0.6, subset="en")
    write_v2(tmp_path / "m" / "bbbbbbb", "STS22", 0.1, subset="de", languages=["deu-Latn"], mteb_version="2.0.0")
    assert scores(read_inputs([tmp_path / "m"])) == {"sts/STS22": 0.6}


def test_self_reported_scores_only_when_asked_for(tmp_path: Path) -> None:
    write_v2(tmp_path / "m" / "aaaaaaa", "SciFact", 0.6)
    write_v2(tmp_path / "m" / "external", "SciFact", 0.9, mteb_version="9.0.0")
    write_v2(tmp_path / "m" / "external", "NQ", 0.5)
    without = read_inputs([tmp_path / "m"])
    assert scores(without) == {"retrieval/SciFact": 0.6}
    assert any("--include-external" in reason for reason in without.sources[0].left_out)
    included = read_inputs([tmp_path / "m"], include_external=True)
    assert scores(included) == {"retrieval/NQ": 0.5, "retrieval/SciFact": 0.6}
    assert any("self-reported" in note and "NQ" in note for note in included.notes)


def test_other_revisions_of_the_data_are_noted(tmp_path: Path) -> None:
    write_v2(tmp_path / "a", "SciFact", 0.6, dataset_revision="rev-one")
    write_v2(tmp_path / "b", "SciFact", 0.5, dataset_revision="rev-two")
    notes = read_inputs([tmp_path / "a", tmp_path / "b"]).notes
    assert [note for note in notes if "revisions of the data differ" in note and "rev-one: a; rev-two: b" in note]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_an_error(tmp_path: Path, score: float) -> None:
    write_v2(tmp_path / "m", "SciFact", score)
    with pytest.raises(EvalError, match="not finite"):
        read_inputs([tmp_path / "m"])


def test_a_file_cut_in_the_middle_is_set_aside_and_said(tmp_path: Path) -> None:
    path = write_v2(tmp_path / "m", "SciFact", 0.6)
    write_v2(tmp_path / "m", "NQ", 0.6)
    path.write_text(path.read_text()[:60])
    inputs = read_inputs([tmp_path / "m"])
    assert list(scores(inputs)) == ["retrieval/NQ"]
    assert any("is set aside" in note and "SciFact.json is not JSON" in note for note in inputs.notes)


def test_a_folder_of_cut_files_is_an_error(tmp_path: Path) -> None:
    path = write_v2(tmp_path / "m", "SciFact", 0.6)
    path.write_text(path.read_text()[:60])
    with pytest.raises(EvalError, match=r"SciFact\.json is not JSON"):
        read_inputs([tmp_path / "m"])


def test_percentages_beside_fractions_are_an_error(tmp_path: Path) -> None:
    write_v2(tmp_path / "a", "SciFact", 0.6)
    write_v2(tmp_path / "b", "SciFact", 61.0)
    with pytest.raises(EvalError, match="scales are mixed"):
        read_inputs([tmp_path / "a", tmp_path / "b"])
    write_v2(tmp_path / "c", "SciFact", 0.6)
    write_v2(tmp_path / "c", "NQ", 61.0)
    with pytest.raises(EvalError, match="scales are mixed"):
        read_inputs([tmp_path / "c"])


def test_tasks_beyond_the_english_benchmarks_are_guessed_and_said(tmp_path: Path) -> None:
    write_v2(tmp_path / "m", "MyRetrieval", 0.6, metrics={"ndcg_at_10": 0.6})
    write_v2(tmp_path / "m", "MySummary", 0.3, metrics={"cosine_spearman": 0.3})
    inputs = read_inputs([tmp_path / "m"])
    assert scores(inputs) == {"retrieval/MyRetrieval": 0.6}
    assert any("MyRetrieval" in note and "read as retrieval" in note for note in inputs.notes)
    assert any("summarization" in reason for reason in inputs.sources[0].left_out)


def test_twelve_forums_are_one_task(tmp_path: Path) -> None:
    for number, name in enumerate(forums()):
        write_v2(tmp_path / "a", name, number / 100)
        write_v2(tmp_path / "b", name, 0.5)
    inputs = read_inputs([tmp_path / "a", tmp_path / "b"])
    assert [list(run.scores) for run in inputs.runs] == [["retrieval/CQADupstackRetrieval"]] * 2
    assert inputs.runs[0].scores["retrieval/CQADupstackRetrieval"].score == pytest.approx(0.055)
    (tmp_path / "b" / f"{forums()[0]}.json").unlink()
    assert len(read_inputs([tmp_path / "a", tmp_path / "b"]).runs[0].scores) == 12


def test_a_folder_of_models_is_a_model_each(tmp_path: Path) -> None:
    for model in ("one", "two"):
        write_v2(tmp_path / "flat" / model, "SciFact", 0.6)
        write_v2(tmp_path / "deep" / model / "abcdef0", "SciFact", 0.6)
    for layout in ("flat", "deep"):
        assert [run.manifest.name for run in read_inputs([tmp_path / layout]).runs] == ["one", "two"]


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    write_v2(tmp_path / "m", "SciFact", 0.6)
    (tmp_path / "m" / "config.json").write_text(json.dumps({"hidden_size": 3}))
    assert read_inputs([tmp_path / "m"]).sources[0].left_out == {"not an MTEB result": ["config.json"]}


def test_the_table_of_tasks() -> None:
    msmarco, sts, summary = known_task("MSMARCO"), known_task("STS17"), known_task("SummEval")
    assert msmarco and (msmarco.category, msmarco.splits, msmarco.metric) == ("retrieval", ("dev",), "ndcg_at_10")
    assert sts and (sts.category, sts.splits, sts.subsets) == ("sts", ("test",), ("en-en",))
    assert summary and summary.category is None
    assert known_task("NoSuchTask") is None
    assert len(forums()) == 12


def test_p_mrr_is_left_out_of_ndcg_and_one_forum_is_said_to_be_one(tmp_path: Path) -> None:
    write_v2(tmp_path / "m", "Core17InstructionRetrieval", 0.1, metrics={"p-MRR": 0.1, "ndcg_at_10": 0.5})
    write_v2(tmp_path / "m", "SciFact", 0.4)
    write_v2(tmp_path / "m", "CQADupstackEnglishRetrieval", 0.4)
    inputs = read_inputs([tmp_path / "m"])
    assert sorted(inputs.runs[0].scores) == ["retrieval/CQADupstackEnglishRetrieval", "retrieval/SciFact"]
    assert any("p-MRR, which cannot be averaged" in note for note in inputs.notes)
    assert any("one of the twelve forums" in note for note in inputs.notes)
