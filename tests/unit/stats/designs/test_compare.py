"""compare_runs on small tables with known answers, and on input that cannot be compared."""

from collections.abc import Sequence

import numpy as np
import pytest

from poolwise.errors import EvalError
from poolwise.records import ItemScores, Run
from poolwise.results import Comparison, Contrast
from poolwise.stats import compare_runs
from unit.stats.designs.builders import run, score_runs, scores, values

REFERENCE, OTHER, THIRD = "last+causal", "mean+causal", "last+bidirectional"
BASE = [0.50, 0.52, 0.55, 0.40, 0.61, 0.58, 0.44, 0.47]


def compare(runs: Sequence[Run], reference: str | None = REFERENCE, **options: object) -> Comparison:
    return compare_runs(runs, reference=reference, num_resamples=999, **options)


def only(contrasts: Sequence[Contrast], a: str, b: str) -> Contrast:
    (found,) = [contrast for contrast in contrasts if (contrast.a, contrast.b) == (a, b)]
    return found


def better_by(*amounts: float) -> list[float]:
    return [score + amount for score, amount in zip(BASE, amounts, strict=False)]


UP = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]


def test_eight_tasks_all_better_is_decided() -> None:
    result = compare(score_runs({REFERENCE: BASE, OTHER: better_by(*UP)}))
    (contrast,) = result.contrasts
    assert (contrast.a, contrast.b, contrast.p, contrast.p_holm) == (OTHER, REFERENCE, 2**-7, 2**-7)
    assert contrast.difference == pytest.approx(0.045)
    assert (contrast.verdict, contrast.estimand, contrast.num_tasks) == ("better", "tasks_like_these", 8)
    assert contrast.interval is not None
    assert contrast.interval[0] > 0


def test_a_share_of_the_error_rate_divides_corrected_p_and_widens_the_joint_interval() -> None:
    runs = score_runs({REFERENCE: BASE, OTHER: better_by(*UP)})
    whole, part, less = (compare(runs, share=share) for share in (1.0, 0.2, 0.1))
    (all_of_it,), (a_fifth,), (a_tenth,) = whole.contrasts, part.contrasts, less.contrasts
    assert (a_fifth.p, a_fifth.p_holm) == (all_of_it.p, pytest.approx(2**-7 / 0.2))
    assert a_fifth.interval == all_of_it.interval
    # 8 tasks can give p = 1/128: enough for 0.05 / 5, and not for 0.05 / 10.
    assert (a_fifth.verdict, a_tenth.verdict) == ("better", "not decided")
    assert a_tenth.p_holm == pytest.approx(2**-7 / 0.1)
    outer, inner = a_fifth.typical_simultaneous, all_of_it.typical_simultaneous
    assert outer is not None and inner is not None and outer[0] < inner[0] and inner[1] < outer[1]
    assert "all of a family hold together at 99%" in part.rule and (part.share, whole.share) == (0.2, 1.0)


def test_worse_is_the_other_way_round() -> None:
    result = compare(score_runs({REFERENCE: better_by(*UP), OTHER: BASE}))
    assert result.contrasts[0].verdict == "worse"
    assert result.recommendations[0].recommended == REFERENCE


def test_three_tasks_can_decide_nothing_and_say_so() -> None:
    result = compare(score_runs({REFERENCE: BASE[:3], OTHER: better_by(0.1, 0.2, 0.3)}))
    (contrast,) = result.contrasts
    assert (contrast.p, contrast.smallest_p, contrast.verdict, contrast.interval) == (0.25, 0.25, "not decided", None)
    assert "p cannot be below 0.25, too few for significance" in contrast.note
    assert "is not shown to be better than" in result.recommendations[0].sentence


def test_holm_runs_over_contrasts_and_categories() -> None:
    table = {REFERENCE: BASE, OTHER: better_by(*UP), THIRD: better_by(*UP[::-1])}
    both = [
        run(name, [scores(f"t{n}", s, category=c) for c in ("sts", "retrieval") for n, s in enumerate(row)], seed=seed)  # type: ignore[arg-type]
        for name, row in table.items()
        for seed in (0, 1)
    ]
    result = compare(both)
    # Two contrasts in two categories, all at the floor of eight tasks.
    assert [contrast.p_holm for contrast in result.contrasts] == pytest.approx([4 * 2**-7] * 4)
    assert [contrast.p_bh for contrast in result.contrasts] == pytest.approx([2**-7] * 4)
    assert "4 tests" in result.family


def test_seeds_are_averaged_first_and_shown_as_spread() -> None:
    runs = [
        run(name, [scores("t", score)], seed=seed)
        for name, pair in {REFERENCE: (0.4, 0.6), OTHER: (0.5, 0.9)}.items()
        for seed, score in enumerate(pair)
    ]
    result = compare(runs)
    assert result.contrasts[0].difference == pytest.approx(0.2)
    assert result.contrasts[0].seed_spread == pytest.approx(np.std([0.1, 0.3], ddof=1))
    (mean, _) = result.means
    assert (mean.mean, mean.by_seed) == (pytest.approx(0.5), [0.4, 0.6])
    assert mean.seed_std == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert not [note for note in result.notes if "one seed" in note]


def test_one_seed_is_said_to_be_one_and_gives_no_verdict_on_designs() -> None:
    table = {REFERENCE: BASE, OTHER: better_by(*UP)}
    result = compare(score_runs(table, seeds=[0]))
    assert any("only one seed" in note for note in result.notes)
    assert (result.contrasts[0].p, result.contrasts[0].verdict) == (2**-7, "not decided")
    assert "one seed" in result.contrasts[0].note


def test_foreign_models_are_themselves_so_one_run_of_each_is_enough() -> None:
    result = compare(score_runs({"x": BASE, "y": better_by(*UP)}, kind="external"), reference=None)
    assert result.contrasts[0].verdict == "better"


def test_identical_models() -> None:
    (contrast,) = compare(score_runs({REFERENCE: BASE, OTHER: BASE})).contrasts
    assert (contrast.p, contrast.smallest_p, contrast.num_zeros, contrast.verdict) == (1.0, 1.0, 8, "equal")


def test_mean_and_ranks_opposed_give_no_verdict() -> None:
    small = [0.094 - 0.0001 * k for k in range(29)]
    (contrast,) = compare(score_runs({REFERENCE: [0.1] * 30, OTHER: [*small, 1.0]}, kind="trained")).contrasts
    assert contrast.difference > 0
    assert contrast.p is not None
    assert contrast.p < 0.001
    assert contrast.typical is not None and contrast.typical < 0
    assert contrast.typical_simultaneous is not None and contrast.typical_simultaneous[1] < 0
    assert "opposite directions" in contrast.note
    assert contrast.verdict == "not decided"


def test_anchors_are_listed_and_not_tested() -> None:
    runs = [*score_runs({REFERENCE: BASE, OTHER: BASE}), run("bm25", [scores("t00", 0.3)], kind="anchor")]
    result = compare(runs)
    assert [(mean.name, mean.num_tasks) for mean in result.means] == [(REFERENCE, 8), (OTHER, 8), ("bm25", 1)]
    assert {name for contrast in result.contrasts for name in (contrast.a, contrast.b)} == {REFERENCE, OTHER}
    assert any(note.startswith("bm25: no score on retrieval/t01") for note in result.notes)


def test_only_common_tasks_and_a_note_on_the_rest() -> None:
    runs = [run(REFERENCE, [scores("x", 0.5), scores("y", 0.5)]), run(OTHER, [scores("x", 0.6), scores("z", 0.1)])]
    result = compare(runs)
    assert result.contrasts[0].num_tasks == 1
    assert result.contrasts[0].left_out == []  # a task that one model alone has is no task of the comparison
    assert any(note == f"only {REFERENCE} has retrieval/y, which is left out" for note in result.notes)
    assert any(note == f"only {OTHER} has retrieval/z, which is left out" for note in result.notes)


def test_foreign_models_by_name() -> None:
    result = compare(score_runs({"x": BASE, "y": better_by(*UP), "z": BASE}, kind="external"), reference=None)
    assert [(contrast.a, contrast.b) for contrast in result.contrasts] == [("y", "x"), ("z", "x"), ("z", "y")]
    assert result.designs == ["x", "y", "z"]
    result = compare(score_runs({"x": BASE, "y": BASE}, kind="external"), reference="x")
    assert [(contrast.a, contrast.b) for contrast in result.contrasts] == [("y", "x")]


def test_one_model_has_means_and_no_tests() -> None:
    result = compare(score_runs({REFERENCE: BASE}))
    assert (result.contrasts, len(result.means)) == ([], 1)
    assert any("nothing to compare" in note for note in result.notes)


def test_scores_without_items_say_why_there_is_no_test_within() -> None:
    result = compare(score_runs({REFERENCE: BASE, OTHER: BASE}))
    assert result.task_contrasts == []
    tasks = ", ".join(f"retrieval/t{number:02d}" for number in range(8))
    assert f"no test within the task, because {REFERENCE} has a score but no items: {tasks}" in result.notes


ITEMS = np.random.default_rng(0).uniform(size=60)


def item_runs(category: str, **fields: object) -> list[Run]:
    shifted = np.clip(ITEMS + 0.3, 0, 1)
    return [
        run(name, [values("t", row, category=category, **fields)])  # type: ignore[arg-type]
        for name, row in ((REFERENCE, ITEMS), (OTHER, shifted))
    ]


def test_within_a_task_it_is_about_checkpoints_and_gives_no_verdict() -> None:
    (contrast,) = compare(item_runs("retrieval")).task_contrasts
    assert (contrast.task, contrast.estimand, contrast.verdict) == ("retrieval/t", "checkpoints", None)
    assert (contrast.p, contrast.num_items) == (1 / 1000, 60)
    assert contrast.interval is not None
    assert contrast.interval[0] < contrast.difference < contrast.interval[1]


def test_rank_metrics_use_swaps_and_the_metric_itself() -> None:
    gold = [float(k % 2) for k in range(60)]
    for category in ("sts", "pair_classification"):
        (contrast,) = compare(item_runs(category, gold=gold)).task_contrasts
        assert contrast.test.startswith("swapped pairs of ranks")
        # A monotone shift, up to the clipped top, moves ranks little.
        assert contrast.p is not None
        assert contrast.p > 0.05


def cluster_record(rows: Sequence[Sequence[int]]) -> ItemScores:
    ids = [str(k) for k in range(60)]
    fields: dict[str, object] = {"assignments": rows, "gold": [str(k % 4) for k in range(60)]}
    return scores("c", 0.5, category="clustering", ids=ids, **fields)


def test_cluster_numbers_mean_nothing() -> None:
    perfect, renamed = [k % 4 for k in range(60)], [(k + 1) % 4 for k in range(60)]
    result = compare([run(REFERENCE, [cluster_record([perfect])]), run(OTHER, [cluster_record([renamed])])])
    (contrast,) = result.task_contrasts
    assert (contrast.difference, contrast.p) == (pytest.approx(0.0), 1.0)
    # Sixty rows that are clustered alike leave room for 6% that are not.
    hidden = 1 - 0.025 ** (1 / 60)
    assert contrast.interval == pytest.approx((-hidden, hidden))
    assert "B-cubed" in contrast.note


def test_constant_similarities_are_a_stated_limitation() -> None:
    gold = [k / 20 for k in range(20)]
    runs = [
        run(REFERENCE, [values("s", [0.5] * 20, category="sts", gold=gold)]),
        run(OTHER, [values("s", gold, category="sts", gold=gold)]),
    ]
    result = compare(runs)
    assert result.task_contrasts == []
    assert any("the same similarity" in note for note in result.notes)


def test_items_in_another_order_are_aligned_by_id() -> None:
    one = values("t", [0.1, 0.9, 0.5, 0.2, 0.7, 0.4])
    raised = values("t", [value + 0.05 for value in one.values])
    two = raised.model_copy(update={"ids": one.ids[::-1], "values": raised.values[::-1]})
    (contrast,) = compare([run(REFERENCE, [one]), run(OTHER, [two])]).task_contrasts
    # All six by the same amount: two of the 64 sign patterns.
    assert (contrast.difference, contrast.p) == (pytest.approx(0.05), 2 / 64)
    assert contrast.interval == pytest.approx((0.05, 0.05))
    assert "inverted" in contrast.interval_method


BAD = {
    "different items": ([values("t", [0.1, 0.2])], [values("t", [0.1, 0.2], ids=["p", "q"])]),
    "different data": ([scores("t", 0.5)], [scores("t", 0.5, fingerprint="else")]),
    "scales are mixed": ([scores("t", 0.5)], [scores("t", 55.0)]),
    "no task in common": ([scores("t", 0.5)], [scores("u", 0.5)]),
    "gold differs": (
        [values("t", [0.1, 0.2], category="sts", gold=[1.0, 2.0])],
        [values("t", [0.1, 0.2], category="sts", gold=[2.0, 1.0])],
    ),
    "NaN": ([scores("t", 0.5)], [scores("t", 0.5).model_copy(update={"score": float("nan")})]),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_compared_is_one_error(what: str) -> None:
    one, two = BAD[what]
    with pytest.raises(EvalError, match=what) as error:
        compare([run(REFERENCE, one), run(OTHER, two)])
    if what != "no task in common":
        assert OTHER in str(error.value)


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(EvalError, match="is given twice"):
        compare(score_runs({REFERENCE: BASE}) * 2)


def test_nothing_but_anchors_is_refused() -> None:
    with pytest.raises(EvalError, match="no designs or models"):
        compare([run("bm25", [scores("t", 0.5)], kind="anchor")])


def test_a_stored_score_that_its_items_do_not_give_is_noted() -> None:
    record = values("t", [0.2] * 30).model_copy(update={"score": 0.4})
    result = compare([run(REFERENCE, [record]), run(OTHER, [values("t", [0.3] * 30)])])
    assert any("is 0.4000, but its items give 0.2000" in note for note in result.notes)


def test_too_many_models_for_the_memory_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError("Unable to allocate 1.15 TiB")

    monkeypatch.setattr("poolwise.stats.designs.compare.collect", full)
    with pytest.raises(EvalError, match=r"out of memory: 1 pairs of 2 models, \d+ resamples; compare fewer models"):
        compare(score_runs({REFERENCE: BASE, OTHER: BASE}))
