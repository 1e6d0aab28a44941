"""The items on which designs differ most, worked out by hand for every kind of task."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.records import ItemTexts, Run
from poolwise.results import Extremes, TaskExtremes
from poolwise.stats import compare_runs, with_extremes
from poolwise.stats.designs.alignment import build_table
from poolwise.stats.designs.extremes import item_qualities
from unit.stats.designs.builders import run, scores, values

A, B = "mean+causal", "last+causal"


def extremes(runs: list[Run], texts: list[ItemTexts] | None = None) -> list[TaskExtremes]:
    return with_extremes(compare_runs(runs, reference=B, num_resamples=100), runs, texts or []).extremes


def contrast(found: TaskExtremes) -> tuple[list[str], list[str]]:
    """The ids where the first and where the second design is better."""
    (one,) = found.contrasts
    rows = list(zip(one.items, one.a_scores, one.b_scores, strict=True))
    return [found.ids[i] for i, a, b in rows if a > b], [found.ids[i] for i, a, b in rows if a < b]


def test_means_take_the_largest_differences_of_the_means_over_seeds() -> None:
    first = [[0.9, 0.5, 0.6, 0.7, 0.2, 0.5], [0.9, 0.5, 0.6, 0.9, 0.2, 0.5]]
    second = [[0.1, 0.5, 0.5, 0.1, 0.8, 0.75], [0.3, 0.5, 0.5, 0.3, 0.8, 0.75]]
    runs = [run(A, [values("t", row)], seed=seed) for seed, row in enumerate(first)]
    runs += [run(B, [values("t", row)], seed=seed) for seed, row in enumerate(second)]
    (found,) = extremes(runs)
    assert contrast(found) == (["i00000", "i00003", "i00002"], ["i00004", "i00005"])
    (one,) = found.contrasts
    assert one.a_scores[:2] == pytest.approx([0.9, 0.8]) and one.b_scores[:2] == pytest.approx([0.2, 0.2])
    assert found.measure == "nDCG@10 of the query" and found.parts == {}
    assert "i00001" not in found.ids


def test_at_most_three_a_side_and_of_equal_ones_the_first() -> None:
    runs = [run(A, [values("t", [1.0] * 5 + [0.0] * 5)]), run(B, [values("t", [0.0] * 5 + [1.0] * 5)])]
    (found,) = extremes(runs)
    assert contrast(found) == (["i00000", "i00001", "i00002"], ["i00005", "i00006", "i00007"])


def test_the_order_in_which_a_run_keeps_its_items_does_not_matter() -> None:
    ids = ["q10", "q2", "q1"]
    one = values("t", [0.1, 0.2, 0.9], ids=ids)
    two = values("t", [0.9, 0.2, 0.0], ids=ids[::-1])
    texts = ItemTexts(task="retrieval/t", fingerprint="f-t", ids=ids, parts={"query": ["ten", "two", "one"]})
    (found,) = extremes([run(A, [one]), run(B, [two])], [texts])
    # q10: 0.1 against 0.0; q2: equal; q1: equal. Only q10 differs.
    assert (found.ids, found.parts) == (["q10"], {"query": ["ten"]})


def test_pairs_are_measured_by_the_distance_of_their_ranks_from_those_of_the_gold() -> None:
    gold = [0.0, 1.0, 1.0, 2.0]
    ids = ["a", "b", "c", "d"]
    # Similarities turned round: a has rank 4 and gold rank 1; b and c share the gold ranks 2 and 3; d has 1 for 4.
    record = scores("t", -1, category="sts", ids=ids, values=[0.9, 0.7, 0.5, 0.1], gold=gold)
    assert item_qualities(build_table({A: [record]}))[A] == pytest.approx([0.25, 1.0, 1.0, 0.25])
    tied = scores("t", 0.1, category="sts", ids=ids, values=[0.5, 0.5, 0.5, 0.9], gold=gold)
    assert item_qualities(build_table({A: [tied]}))[A] == pytest.approx([0.75, 1.0, 1.0, 1.0])


def test_labels_count_as_ranked_right_anywhere_on_their_side() -> None:
    ids = ["a", "b", "c", "d", "e"]
    record = scores(
        "t", 0.5, category="pair_classification", ids=ids, values=[0.9, 0.8, 0.7, 0.6, 0.1], gold=[1, 0, 1, 0, 1]
    )
    # Three positives belong into the upper three places: e stands two places below them; b two places too high.
    assert item_qualities(build_table({A: [record]}))[A] == pytest.approx([1.0, 0.6, 1.0, 1.0, 0.6])


def test_clusters_are_measured_by_b_cubed_f1_over_all_k_means_seeds() -> None:
    rows = [[0, 0, 1, 1], [0, 0, 0, 1]]
    record = scores("t", 0.5, category="clustering", ids=["a", "b", "c", "d"], gold=["x", "x", "y", "y"])
    record.assignments = rows
    # Second seed: a and b share two of 2 + 3, c is alone of 2 + 3, d alone of 2 + 1.
    expected = (np.ones(4) + np.array([4 / 5, 4 / 5, 2 / 5, 2 / 3])) / 2
    assert item_qualities(build_table({A: [record]}))[A] == pytest.approx(expected)


@pytest.mark.parametrize("change", [{"fingerprint": "other"}, {"task": "retrieval/u"}])
def test_texts_of_another_task_or_other_data_are_not_shown(change: dict[str, str]) -> None:
    runs = [run(A, [values("t", [1.0, 0.0])]), run(B, [values("t", [0.0, 1.0])])]
    fields = {"task": "retrieval/t", "fingerprint": "f-t", "ids": ["i00000", "i00001"], "parts": {"query": ["x", "y"]}}
    assert extremes(runs, [ItemTexts.model_validate(fields)])[0].parts == {"query": ["x", "y"]}
    assert extremes(runs, [ItemTexts.model_validate(fields | change)])[0].parts == {}


def test_tasks_without_items_and_models_without_contrasts_are_left_out() -> None:
    bare = [run(A, [scores("t", 0.5), values("u", [0.1, 0.3])]), run(B, [scores("t", 0.4), values("u", [0.2, 0.1])])]
    assert [found.task for found in extremes(bare)] == ["retrieval/u"]
    alone = [run(B, [values("t", [1.0, 0.0])])]
    assert extremes(alone) == []


def test_designs_without_a_difference_have_no_items() -> None:
    (found,) = extremes([run(A, [values("t", [0.5, 0.4])]), run(B, [values("t", [0.5, 0.4])])])
    assert found.ids == [] and found.contrasts == [Extremes(a=A, b=B, items=[], a_scores=[], b_scores=[])]
