"""Recall, nDCG and latency of an index, by setting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poolwise.errors import ConfigError, DataError
from poolwise.search import build_index
from poolwise.search.backends import Found
from poolwise.search.index_scores import load_qrels, mean_ndcg, score_index
from poolwise.search.query_files import load_queries
from poolwise.search.recall import _without, recalls
from search_folder import FakeModel, texts_of, write_corpus


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    settings = {"nlist": 15, "nprobe": 1, "m": 1}
    corpus = write_corpus(folder, 600, shard_rows=200)
    build_index(corpus, folder / "index", backend="faiss-ivfpq", settings=settings, min_recall=0).close()
    return folder / "index"


def test_recall_is_the_share_of_the_nearest_that_were_found() -> None:
    exact = Found(np.array([[4, 7, 2], [1, 2, 3]]), np.array([[0.9, 0.8, 0.5], [0.9, 0.8, 0.7]], np.float32))
    found = Found(np.array([[4, 9, 2], [1, -1, -1]]), np.array([[0.9, 0.5, 0.5], [0.9, -np.inf, -np.inf]], np.float32))
    # Row 9 is as near as the third of exact search.
    assert recalls(found, exact).tolist() == pytest.approx([1, 1 / 3])


def test_a_row_is_not_its_own_neighbour() -> None:
    found = Found(np.array([[5, 1, 2], [1, 6, 2], [1, 2, 3]]), np.arange(9, dtype=np.float32).reshape(3, 3))
    own = np.array([5, 6, 7])
    assert _without(found, own, 2).rows.tolist() == [[1, 2], [1, 2], [1, 2]]
    assert _without(found, own, 2).scores.tolist() == [[1, 2], [3, 5], [6, 7]]


def test_ndcg_is_that_of_trec_eval() -> None:
    import pytrec_eval

    rng = np.random.default_rng(0)
    ids = [f"q{number}" for number in range(20)]
    judged = {name: {f"d{row}": int(rng.integers(0, 3)) for row in rng.choice(50, 8, replace=False)} for name in ids}
    ranked = [[f"d{row}" for row in rng.choice(50, 30, replace=False)] for _ in ids]
    run = {name: {key: -float(rank) for rank, key in enumerate(line)} for name, line in zip(ids, ranked, strict=True)}
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(run)
    kept = [name for name in ids if any(judged[name].values())]
    value, count = mean_ndcg(ranked, ids, judged)
    assert count == len(kept)
    assert value == pytest.approx(np.mean([theirs[name]["ndcg_cut_10"] for name in kept]))


def test_settings_are_chosen_by_their_scores(index: Path) -> None:
    scores = score_index(index, k=5, sweep={"nprobe": [1, 15], "oversample": [1, 100]})
    assert [dict(score.settings) for score in scores] == [
        {"nprobe": nprobe, "oversample": oversample} for nprobe in (1, 15) for oversample in (1, 100)
    ]
    recalled = [score.recall for score in scores]
    assert recalled[0] < recalled[3] and recalled[3] > 0.99
    for score in scores:
        assert 0 < score.latency.p50 <= score.latency.p90 <= score.latency.p99
        assert (score.num_queries, score.k, score.ndcg) == (200, 5, None)


def test_judgements_score_an_index_beside_exact_search(index: Path, tmp_path: Path) -> None:
    texts = list(texts_of(600).items())[:20]
    (tmp_path / "qrels.tsv").write_text("".join(f"q{key}\t{key}\t1\n" for key, _ in texts))
    queries = [(f"q{key}", text) for key, text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poolwise.search.index.QueryEncoder", lambda *_: FakeModel())
        (score,) = score_index(index, queries=queries, qrels=tmp_path / "qrels.tsv")
        # The query is the very text of its document.
        assert score.exact_ndcg == pytest.approx(1)
        assert score.ndcg is not None and 0 < score.ndcg <= 1
        assert (score.num_judged, score.num_queries) == (20, 20)
        (tmp_path / "qrels.tsv").write_text("other\td1\t1\n")
        with pytest.raises(DataError, match="names no relevant document for any of 20 queries, such as 'qd0'"):
            score_index(index, queries=queries, qrels=tmp_path / "qrels.tsv")
        (tmp_path / "qrels.tsv").write_text("qd0\tother\t1\n")
        with pytest.raises(DataError, match=r"none of 1 relevant documents of .* is in the index, such as 'other'"):
            score_index(index, queries=queries, qrels=tmp_path / "qrels.tsv")


def test_what_cannot_be_scored_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--qrels q without --queries; wanted the queries that are judged"):
        score_index(index, qrels=Path("q"))
    with pytest.raises(ConfigError, match="setting m of a search with faiss-ivfpq"):
        score_index(index, sweep={"m": [1]})
    (tmp_path / "qrels.tsv").write_text("q1 d1 high\n")
    with pytest.raises(DataError, match="qrels: 1 problem"):
        load_qrels(tmp_path / "qrels.tsv")


@pytest.mark.parametrize(
    ("name", "rows", "told"),
    [
        ("q.txt", "first\n\nsecond\n", None),
        ("q.jsonl", '{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two"}\n', None),
        ("q.jsonl", '{"_id": "a", "text": "one"}\n{"_id": "a", "text": "two"}\n', "the id 'a' repeats"),
        ("q.jsonl", '{"_id": "a", "text": "one"}\n{"_id": "b", "text": " "}\n', "q.jsonl:2: empty text"),
        ("q.txt", "", "has no queries"),
    ],
)
def test_files_of_queries(tmp_path: Path, name: str, rows: str, told: str | None) -> None:
    (tmp_path / name).write_text(rows)
    if told is None:
        assert [text for _, text in load_queries(tmp_path / name)] in (["first", "second"], ["one", "two"])
        return
    with pytest.raises(DataError, match=told):
        load_queries(tmp_path / name)
