"""Items that only some models have: the common items, and the scores that they give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, v_measure_score

from poolwise.errors import EvalError
from poolwise.foreign import read_inputs
from poolwise.foreign.intersection import intersected
from poolwise.records import Category, ItemScores
from poolwise.stats import compare_runs
from unit.foreign.files import write_text
from unit.stats.designs.builders import run, scores, values

HEAD = "model,task,item,score"


def cut(*records: ItemScores) -> tuple[list[ItemScores], list[str]]:
    """Return the records of one task of models a, b ... after the cut, and the notes."""
    models = [run(name, [record], kind="external") for name, record in zip("abcdefg", records, strict=False)]
    found, notes = intersected(models)
    return [record for model in found for record in model.scores.values()], notes


def part(record: ItemScores, rows: Sequence[int], **changes: object) -> ItemScores:
    """Return a record of some rows of another, with its score unless ``changes`` gives one."""
    columns = {
        name: [getattr(record, name)[row] for row in rows]
        for name in ("ids", "values", "gold", "group")
        if getattr(record, name)
    }
    columns["assignments"] = [[row[place] for place in rows] for row in record.assignments]
    return record.model_copy(update={**columns, "fingerprint": f"of {len(rows)}", **changes})


def test_a_mean_is_taken_again_over_the_common_items() -> None:
    first = values("t", [0.0, 0.2, 0.4, 0.9])
    (a, b), notes = cut(first, part(values("t", [0.7, 0.1, 0.2, 0.3]), [1, 2, 3], score=0.2))
    assert (a.ids, a.score, b.score) == (["i00001", "i00002", "i00003"], pytest.approx(0.5), pytest.approx(0.2))
    assert a.fingerprint == b.fingerprint
    assert notes == [
        "retrieval/t: scored on the 3 items that all models have; left out: 1 of a; that their texts are the same is "
        "not checked"
    ]


def test_equal_items_are_left_as_they_are() -> None:
    records = [values("t", [0.0, 0.2]), part(values("t", [0.0, 0.2]), [1, 0])]
    assert cut(*records) == (records, [])


def rank_record(category: Category, seed: int) -> ItemScores:
    rng = np.random.default_rng(seed)
    gold = [float(number % 2) for number in range(20)] if category == "pair_classification" else list(range(20))
    similarities = rng.normal(size=20).round(1).tolist()
    ids = [f"i{number:05d}" for number in range(20)]
    record = scores("t", 0.0, category=category, ids=ids, values=similarities, gold=gold)
    return record.model_copy(update={"score": by_hand(record)})


def by_hand(record: ItemScores) -> float:
    if record.category == "sts":
        return float(spearmanr(record.gold, record.values).statistic)
    if record.category == "pair_classification":
        return float(average_precision_score(np.array(record.gold), record.values))
    return float(np.mean([v_measure_score(record.gold, row) for row in record.assignments]))


@pytest.mark.parametrize("category", ["sts", "pair_classification"])
def test_rank_metrics_are_computed_again(category: Category) -> None:
    first, second = rank_record(category, 1), rank_record(category, 2)
    kept = [3, 1, *range(5, 18)]
    (a, b), _ = cut(first, part(second, kept, score=by_hand(part(second, kept))))
    assert len(a.ids) == 15 and a.score != first.score
    assert a.score == pytest.approx(by_hand(part(first, kept)), abs=1e-5)
    assert b.score == pytest.approx(by_hand(part(second, kept)), abs=1e-5)


def test_v_measure_is_computed_again() -> None:
    rng = np.random.default_rng(0)
    gold = [f"label {number % 3}" for number in range(30)]
    ids = [f"i{number:05d}" for number in range(30)]
    made = [rng.integers(0, 3, size=(2, 30)).tolist() for _ in "ab"]
    first, second = (scores("t", 0.0, category="clustering", ids=ids, gold=gold, assignments=one) for one in made)
    kept = list(range(4, 25))
    small = part(second, kept)
    (a, b), notes = cut(
        first.model_copy(update={"score": by_hand(first)}), small.model_copy(update={"score": by_hand(small)})
    )
    assert a.score == pytest.approx(by_hand(part(first, kept))) and b.score == pytest.approx(by_hand(small))
    assert "the clusters were made with the other items too" in notes[0]


def test_a_score_that_its_items_do_not_give_is_left_out() -> None:
    first = values("t", [0.0, 1.0, 1.0], category="classification", metric="f1").model_copy(update={"score": 0.6})
    found, notes = cut(first, part(first, [0, 1]))
    assert not found
    assert notes == [
        "classification/t is left out: its items differ between models, and f1 cannot be computed from the scores of "
        "its items"
    ]


def test_a_task_searched_in_other_documents_or_without_common_items_is_left_out() -> None:
    first = values("t", [0.0, 1.0, 1.0], settings={"num_corpus": 100, "max_items": None})
    found, notes = cut(first, part(first, [1, 2], settings={"num_corpus": 60, "max_items": 2}, score=1.0))
    assert not found and "number of documents searched differs too (100 against 60)" in notes[0]
    found, notes = cut(part(first, [0], score=0.0), part(first, [1], score=1.0))
    assert not found and "no item is common to all" in notes[0]


def test_a_model_with_a_score_alone_loses_the_task() -> None:
    first = values("t", [0.0, 0.5, 1.0])
    found, notes = cut(first, part(first, [0, 1], score=0.25), scores("t", 0.7))
    assert [record.score for record in found] == [0.25, 0.25]
    assert "c has only a score of all its items" in notes[0]


def test_gold_of_common_items_must_agree() -> None:
    first = rank_record("sts", 1)
    other = part(first, list(range(10)))
    other = other.model_copy(update={"gold": [9.0, *other.gold[1:]]})
    with pytest.raises(EvalError, match=r"sts/t: gold of item 'i00000' is 0.0 in a and 9.0 in b"):
        cut(first, other.model_copy(update={"score": by_hand(other)}))


def test_items_are_together_if_they_are_so_for_any_model() -> None:
    first = values("t", [0.0, 0.2, 0.4, 0.6, 0.8], group=["with 0", "with 1", "with 1", "with 3", "with 4"])
    second = values("t", [0.0, 0.2, 0.4, 0.6, 0.8], group=["with 0", "with 0", "with 2", "with 2", "with 4"])
    (a, b), _ = cut(first, part(second, [1, 2, 3, 4], score=0.5))
    assert a.group == b.group
    one, two, three, four = a.group
    assert one == two == three != four


def test_seeds_and_baselines_are_cut_too() -> None:
    whole, small = values("t", [0.1, 0.2, 0.9]), part(values("t", [0.1, 0.2, 0.9]), [0, 1], score=0.15)
    runs = [run("mean+causal", [whole], seed=0), run("mean+causal", [small], seed=1), run("last+causal", [whole])]
    found, notes = intersected([*runs, run("bm25", [whole], kind="anchor")])
    assert [one.scores["retrieval/t"].score for one in found] == pytest.approx([0.15] * 4)
    assert "left out: 1 of mean+causal, 1 of last+causal, 1 of bm25" in notes[0]
    assert compare_runs(found).contrasts


def test_different_items_of_a_table_are_an_error_that_names_the_option(tmp_path: Path) -> None:
    lines = [f"{m},SciFact,{i},0.{i}" for m in "ab" for i in range(9) if (m, i) != ("b", 4)]
    table = write_text(tmp_path / "s.csv", HEAD, *lines)
    with pytest.raises(EvalError, match=r"different items .*compare --intersect"):
        compare_runs(read_inputs([table]).runs)
    inputs = read_inputs([table], intersect=True)
    assert {run.scores["retrieval/SciFact"].num_items for run in inputs.runs} == {8}
    assert any("scored on the 8 items that all models have; left out: 1 of a" in note for note in inputs.notes)
