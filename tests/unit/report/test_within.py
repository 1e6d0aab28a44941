"""Where no test can decide, the report says so and shows what was found within the tasks."""

from __future__ import annotations

from pathlib import Path

from poolwise.report import comparison_text, write_comparison_report
from poolwise.report.decided import decided_sentences
from poolwise.report.view import runs_view
from poolwise.report.within import num_hopeless, undecidable_sentences, within_contrasts
from poolwise.results import CategoryMean, Comparison, Contrast


def _contrast(**changes: object) -> Contrast:
    fields = {"category": "sts", "a": "x", "b": "y", "difference": 0.46, "test": "T", "verdict": "not decided"}
    fields |= {"estimand": "tasks_like_these", "p": 1.0, "p_holm": 1.0, "smallest_p": 1.0, "num_tasks": 1}
    return Contrast.model_validate({**fields, **changes})


def _comparison(contrasts: list[Contrast], within: list[Contrast] | None = None, **fields: object) -> Comparison:
    return Comparison(
        reference=None,
        designs=["x", "y"],
        means=[CategoryMean(category="sts", name=n, mean=0.5, by_seed=[0.5], num_tasks=1) for n in "xy"],
        contrasts=contrasts,
        task_contrasts=within or [],
        **fields,  # type: ignore[arg-type]
    )


WITHIN = _contrast(
    task="sts/Forty", estimand="checkpoints", p=1e-4, p_holm=1e-4, smallest_p=1e-9, num_items=40, interval=(0.3, 0.6)
)


def test_with_one_task_the_result_within_it_is_shown(tmp_path: Path) -> None:
    """.98 against .52 on 40 items was printed as not decided, p >= 1, and nothing else."""
    comparison = _comparison([_contrast()], [WITHIN])
    text = comparison_text(comparison)
    assert "No test can decide in STS: with 1 task the smallest possible p is 1." in text
    line = next(line for line in text.splitlines() if line.startswith("sts/Forty"))
    assert "+0.4600**" in line and "[+0.3000, +0.6000]" in line and "0.0001" in line
    page = write_comparison_report(comparison, [], tmp_path).read_text()
    decided = page[page.index('<section id="decided"') : page.index('<section id="scores"')]
    assert "with 1 task the smallest possible p is 1" in decided and "tab-within" in decided and "sts/" in decided


def test_with_one_seed_the_reason_is_the_seed() -> None:
    note = "one seed: the variation between training runs is unknown, so no verdict on the designs"
    one = _contrast(p=0.001, smallest_p=1e-5, num_seeds=1, estimand="designs_on_tasks", num_tasks=3, note=note)
    view = runs_view(_comparison([one], [WITHIN]), ())
    assert undecidable_sentences(view) == [
        "No test can decide in STS: with one seed the variation between training runs is unknown."
    ]
    assert within_contrasts(view) == [WITHIN]


def test_where_a_test_could_decide_within_results_stay_among_the_tests() -> None:
    view = runs_view(_comparison([_contrast(p=0.3, smallest_p=0.001, num_tasks=10)], [WITHIN]), ())
    assert undecidable_sentences(view) == [] and within_contrasts(view) == []


def test_all_tests_that_could_not_have_been_significant_are_counted() -> None:
    """84 tests with a smallest p of .0078 and 56 of .125: with Holm among 140, none could have reached .05."""
    contrasts = [_contrast(smallest_p=0.0078, num_tasks=8) for _ in range(84)]
    contrasts += [_contrast(smallest_p=0.125, num_tasks=4) for _ in range(56)]
    comparison = _comparison(contrasts)
    assert num_hopeless(comparison) == 140
    sentences = " ".join(decided_sentences(runs_view(comparison, ())))
    assert "None of the 140 tested could have reached a corrected p below 0.05" in sentences
    assert "among 140 tests the smallest possible p, 0.0078, is not small enough" in sentences


def test_families_by_category_are_counted_each_for_itself() -> None:
    contrasts = [_contrast(smallest_p=0.02, num_tasks=6), _contrast(category="retrieval", smallest_p=0.03, num_tasks=6)]
    contrasts += [_contrast(smallest_p=0.045, category=c, num_tasks=6) for c in ("clustering", "reranking")]
    # Together, the two at .045 share the level; the two below are alone at theirs (Tarone).
    assert num_hopeless(_comparison(contrasts)) == 2
    assert num_hopeless(_comparison(contrasts, by_category=True)) == 0
