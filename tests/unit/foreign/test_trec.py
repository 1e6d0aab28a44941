"""TREC runs, relevance judgements and mteb's predictions: one score per judged query."""

from __future__ import annotations

import gzip
from math import log2
from pathlib import Path

import pytest

from poolwise.errors import EvalError
from poolwise.foreign import read_inputs
from poolwise.foreign.metrics import average_precision, ndcg
from poolwise.foreign.qrels import load_qrels
from poolwise.foreign.trec import load_rankings
from poolwise.stats import compare_runs
from unit.foreign.files import write_json, write_text

QRELS = ("q1 0 d1 2", "q1 0 d2 1", "q2 0 d3 1", "q2 0 d1 0")
RUN = ("q1 Q0 d2 1 3.0 t", "q1 Q0 d9 2 2.0 t", "q1 Q0 d1 3 1.0 t", "q2 Q0 d3 1 0.5 t")
Q1 = (1 + 2 / log2(4)) / (2 + 1 / log2(3))
"""nDCG of q1 by hand: grade 1 first, grade 2 third; the best order has grade 2 first, grade 1 second."""


def test_ndcg_by_hand() -> None:
    scores = {"d2": 3.0, "d9": 2.0, "d1": 1.0}
    assert ndcg(scores, {"d1": 2, "d2": 1}) == pytest.approx(Q1)
    assert ndcg(scores, {"d1": 2, "d2": 1}, depth=2) == pytest.approx(1 / (2 + 1 / log2(3)))
    assert ndcg(scores, {"d1": 0}) == 0
    assert ndcg(scores, {"d2": 1, "d9": -1, "d1": 1}) == pytest.approx((1 + 1 / log2(4)) / (1 + 1 / log2(3)))
    assert ndcg({}, {"d1": 1}) == 0


def test_average_precision_by_hand() -> None:
    scores = {"d2": 3.0, "d9": 2.0, "d1": 1.0}
    assert average_precision(scores, {"d1": 1, "d2": 1, "d7": 1}) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(scores, {"d1": 0}) == 0


def test_both_agree_with_trec_eval_on_rankings_with_ties() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    import numpy as np

    rng = np.random.default_rng(0)
    documents = [f"d{number}" for number in range(30)]
    qrels, run = {}, {}
    for query in map(str, range(40)):
        qrels[query] = {name: int(rng.integers(0, 4)) for name in rng.choice(documents, 8, replace=False)}
        run[query] = {name: float(rng.integers(0, 6)) for name in rng.choice(documents, 20, replace=False)}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map"}).evaluate(run)
    for query, found in expected.items():
        assert ndcg(run[query], qrels[query]) == pytest.approx(found["ndcg_cut_10"], abs=1e-9)
        assert average_precision(run[query], qrels[query]) == pytest.approx(found["map"], abs=1e-9)


def test_a_run_is_scored_by_query_and_named_by_its_file(tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "scifact" / "qrels" / "test.txt", *QRELS)
    inputs = read_inputs([write_text(tmp_path / "bm25.run", *RUN)], [qrels])
    (run,) = inputs.runs
    record = run.scores["retrieval/scifact"]
    assert (run.manifest.name, record.ids, record.metric) == ("bm25", ["q1", "q2"], "ndcg_at_10")
    assert record.values == pytest.approx([Q1, 1.0])
    assert record.score == pytest.approx((Q1 + 1) / 2)


def test_a_judged_query_that_a_run_lacks_scores_0_and_is_said(tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "task.qrels", *QRELS)
    inputs = read_inputs([write_text(tmp_path / "a.run", *RUN[:3], "q7 Q0 d3 1 0.5 t")], [qrels])
    assert inputs.runs[0].scores["retrieval/task"].values == pytest.approx([Q1, 0.0])
    assert any("1 of 2 judged queries are missing (q2)" in note for note in inputs.notes)
    assert any("1 queries without judgements are left out (q7)" in note for note in inputs.notes)


def test_beir_judgements_and_judgements_among_the_inputs(tmp_path: Path) -> None:
    rows = ("query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t1", "q2\td3\t1")
    beir = write_text(tmp_path / "task" / "qrels" / "test.tsv", *rows)
    inputs = read_inputs([write_text(tmp_path / "a.run", *RUN), beir])
    assert inputs.runs[0].scores["retrieval/task"].values == pytest.approx([Q1, 1.0])
    assert [source.kind for source in inputs.sources] == ["trec", "qrels"]


@pytest.mark.parametrize("name", ["task.qrels", "task.tsv", "task.qrels.gz"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_judgements_of_every_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    rows = ("query-id\tcorpus-id\tscore", "q1\tdé1\t2", "q1\td2\t1", "q2\td3\t1")
    raw = ("\ufeff" * (encoding == "utf-16-be") + "\r\n".join(rows if name == "task.tsv" else QRELS)).encode(encoding)
    judged = tmp_path / name
    judged.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    lines = [line.replace("d1", "dé1") for line in RUN] if name == "task.tsv" else RUN
    run = write_text(tmp_path / "a.run", *lines)
    for inputs in (read_inputs([run], [judged]), read_inputs([run, judged])):
        assert inputs.runs[0].scores["retrieval/task"].values == pytest.approx([Q1, 1.0])


def test_judgements_that_are_not_text_name_the_line(tmp_path: Path) -> None:
    judged = tmp_path / "task.qrels"
    judged.write_bytes(b"q1 0 d1 1\nq1 0 d\xff 1\n")
    with pytest.raises(EvalError, match=r"task\.qrels:2 is not text; wanted .* UTF-8 or UTF-16"):
        read_inputs([write_text(tmp_path / "a.run", *RUN)], [judged])


def test_a_folder_of_runs_is_one_model_on_several_tasks(tmp_path: Path) -> None:
    one, two = write_text(tmp_path / "one.qrels", *QRELS), write_text(tmp_path / "two.qrels", "x1 0 d1 1")
    write_text(tmp_path / "model" / "one.run", *RUN)
    write_text(tmp_path / "model" / "two.run", "x1 Q0 d5 1 2.0 t", "x1 Q0 d1 2 1.0 t")
    (run,) = read_inputs([tmp_path / "model"], [one, two]).runs
    assert run.manifest.name == "model"
    assert run.scores["retrieval/two"].score == pytest.approx(1 / log2(3))
    assert list(run.scores) == ["retrieval/one", "retrieval/two"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("q1 Q0 d1 1 1.0 t", "q1 Q0 d2 2"), ":2: 4 fields"),
        (("q1 Q0 d1 1 1.0 t", "q1 Q0 d2 2 nan t"), "not a finite number"),
        (("q1 Q0 d1 1 1.0 t", "q1 Q0 d2 2 x t"), "not a finite number"),
        (("q1 Q0 d1 1 1.0 t", "q1 Q0 d1 2 0.5 t"), "is repeated"),
        (("z1 Q0 d1 1 1.0 t",), "shares no query"),
    ],
)
def test_broken_runs(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    qrels = write_text(tmp_path / "task.qrels", *QRELS)
    with pytest.raises(EvalError, match=message):
        read_inputs([write_text(tmp_path / "a.run", *lines)], [qrels])


def test_a_run_cut_within_its_last_tag(tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "task.qrels", *QRELS)
    path = tmp_path / "a.run"
    path.write_text("q1 Q0 d1 1 1.0 system\nq2 Q0 d3 1 1.0 sys")
    with pytest.raises(EvalError, match="breaks off"):
        read_inputs([path], [qrels])


def test_a_run_without_judgements_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="--qrels"):
        read_inputs([write_text(tmp_path / "a.run", *RUN)])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("q1 0 d1 1", "q1 0 7"), "3 fields"),
        (("q1 0 d1 1", "q1 0 d1 2"), "judged twice"),
        (("q1 0 d1 0",), "no document relevant"),
        (("q1 0 d1 1", "q1 0 d2 0.7"), "grade '0.7' is not a whole number"),
        (("q1 0 d1 1", "q1 0 d2 inf"), ":2: "),
    ],
)
def test_broken_judgements(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    run = write_text(tmp_path / "a.run", *RUN)
    with pytest.raises(EvalError, match=message):
        read_inputs([run], [write_text(tmp_path / "task.qrels", *lines)])


def predictions(folder: Path, task: str, found: object, model: str = "org/model") -> None:
    meta = {"model_name": model, "revision": "abc"}
    write_json(folder / f"{task}_predictions.json", {"mteb_model_meta": meta, "default": {"test": found}})


def test_predictions_of_retrieval_need_judgements_and_the_others_labels(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    predictions(folder, "SciFact", {"q1": {"d2": 3.0, "d9": 2.0, "d1": 1.0}, "q2": {"d3": 1.0}})
    predictions(folder, "STSBenchmark", {"cosine_scores": [0.1, 0.2]})
    qrels = write_text(tmp_path / "judged.qrels", *QRELS)
    inputs = read_inputs([folder], [qrels])
    (run,) = inputs.runs
    assert run.manifest.name == "org/model"
    assert run.scores["retrieval/SciFact"].values == pytest.approx([Q1, 1.0])
    (reason,) = inputs.sources[0].left_out
    assert "without the task's labels" in reason and inputs.sources[0].left_out[reason] == ["STSBenchmark"]
    with pytest.raises(EvalError, match=r"give --qrels FILE \(SciFact\)"):
        read_inputs([folder])


def test_predictions_of_reranking_are_average_precision(tmp_path: Path) -> None:
    predictions(tmp_path / "p", "SciDocsRR", {"q1": {"d9": 3.0, "d1": 1.0}, "q2": {"d3": 1.0}})
    (run,) = read_inputs([tmp_path / "p"], [write_text(tmp_path / "judged.qrels", *QRELS)]).runs
    record = run.scores["reranking/SciDocsRR"]
    assert (record.metric, record.values) == ("map", pytest.approx([0.25, 1.0]))


def test_predictions_of_two_models_in_one_folder(tmp_path: Path) -> None:
    predictions(tmp_path / "p", "SciFact", {"q1": {"d9": 3.0}})
    predictions(tmp_path / "p", "NQ", {"q1": {"d9": 3.0}}, model="org/other")
    with pytest.raises(EvalError, match="org/other, org/model"):
        read_inputs([tmp_path / "p"], [write_text(tmp_path / "judged.qrels", *QRELS)])


def test_two_predictions_of_one_task(tmp_path: Path) -> None:
    for revision in ("one", "two"):
        predictions(tmp_path / "p" / revision, "SciFact", {"q1": {"d9": 3.0}})
    with pytest.raises(EvalError, match="two predictions of SciFact"):
        read_inputs([tmp_path / "p"], [write_text(tmp_path / "judged.qrels", *QRELS)])


def test_a_query_that_comes_twice_in_predictions(tmp_path: Path) -> None:
    predictions(tmp_path / "p", "SciFact", {"q1": {"d9": 3.0}, "q2": {"d3": 1.0}})
    path = tmp_path / "p" / "SciFact_predictions.json"
    path.write_text(path.read_text().replace('"q2"', '"q1"'))
    with pytest.raises(EvalError, match="'q1' is repeated"):
        read_inputs([tmp_path / "p"], [write_text(tmp_path / "judged.qrels", *QRELS)])


def test_queries_with_a_common_relevant_document_are_kept_together(tmp_path: Path) -> None:
    queries = [f"q{number}" for number in range(30)]
    judged = write_text(tmp_path / "q.qrels", *(f"{query} 0 d{number // 2} 1" for number, query in enumerate(queries)))
    ranked = write_text(tmp_path / "a.run", *(f"{query} Q0 d{n // 2} 1 1.0 a" for n, query in enumerate(queries)))
    inputs = read_inputs([ranked], [judged])
    ((record,),) = [list(run.scores.values()) for run in inputs.runs]
    assert len(set(record.group)) == 15
    note = "retrieval/q: queries that share a relevant document are kept together: 15 groups"
    # The note is about the judgements: it stands there once, however many runs they score.
    other = write_text(tmp_path / "b.run", *(f"{query} Q0 d1 1 1.0 b" for query in queries))
    assert read_inputs([ranked, other], [judged]).notes.count(note) == inputs.notes.count(note) == 1


def test_scores_without_groups_take_those_of_a_ranking(tmp_path: Path) -> None:
    queries = [f"q{number}" for number in range(30)]
    judged = write_text(tmp_path / "q.qrels", *(f"{query} 0 d{number // 2} 1" for number, query in enumerate(queries)))
    ranked = write_text(tmp_path / "a.run", *(f"{query} Q0 d{n // 2} 1 1.0 a" for n, query in enumerate(queries)))
    rows = (f"b,retrieval/q,{query},0.{n % 7}" for n, query in reversed(list(enumerate(queries))))
    inputs = read_inputs([ranked, write_text(tmp_path / "b.csv", "model,task,item,score", *rows)], [judged])
    one, two = (run.scores["retrieval/q"] for run in inputs.runs)
    assert dict(zip(one.ids, one.group, strict=True)) == dict(zip(two.ids, two.group, strict=True))
    assert any("taken so for all: retrieval/q" in note for note in inputs.notes)
    assert [contrast.verdict for contrast in compare_runs(inputs.runs).contrasts] == ["worse"]


@pytest.mark.parametrize("grade", ["1e308", "4294967296"])
def test_a_grade_too_large_for_a_sum_is_a_bad_line(tmp_path: Path, grade: str) -> None:
    path = tmp_path / "qrels.txt"
    path.write_text(f"q1 0 d1 {grade}\nq1 0 d2 1\n")
    with pytest.raises(EvalError, match="is not a whole number up to 2,147,483,648"):
        load_qrels(path)
    path = tmp_path / "qrels.json"
    path.write_text(f'{{"q1": {{"d1": {grade}, "d2": 1}}}}')
    with pytest.raises(EvalError, match="wanted whole grades up to"):
        load_qrels(path)


def test_tags_that_all_differ_take_time_in_proportion(tmp_path: Path) -> None:
    """Each new tag used to split the whole file again: 20,000 lines took minutes."""
    path = tmp_path / "a.trec"
    path.write_text("\n".join(f"q{n} Q0 d1 1 0.5 tag{n}" for n in range(20_000)))
    with pytest.raises(EvalError, match=":20000: the last line breaks off in the tag 'tag19999'"):
        load_rankings(path)


def test_a_query_without_judgements_and_numbers_of_hundreds_of_digits_are_errors_in_words(tmp_path: Path) -> None:
    run = tmp_path / "a.json"
    run.write_text('{"q1": {"d1": 0.5}, "q2": {"d1": 0.5}}')
    qrels = tmp_path / "qrels.json"
    qrels.write_text('{"q1": {"d1": 1}, "q2": {}}')
    (found,) = read_inputs([run], [qrels]).runs
    assert next(iter(found.scores.values())).values == [1.0, 0.0]
    for sign in ("", "-"):
        qrels.write_text(f'{{"q1": {{"d1": {sign}{"9" * 400}}}}}')
        with pytest.raises(EvalError, match=f"score {sign}999|score {sign}inf"):
            load_qrels(qrels)
