"""The tables against records small enough to read: every cell is a number of the records."""

from __future__ import annotations

import pytest

from poolwise.records import ItemScores, Run, RunManifest
from poolwise.report.amounts import difference_text, score_text
from poolwise.report.evidence import contrast_table, posterior_table, power_table, variance_table
from poolwise.report.tables import cost_table, paper_table, task_table
from poolwise.report.view import runs_view, stars, study_view
from poolwise.results import CategoryMean, Comparison, Contrast, Power
from unit.report.synthetic import ANCHORS, DESIGNS, REFERENCE, build_study


def _contrast(**changes: object) -> Contrast:
    fields = {"category": "sts", "a": "mean+causal", "b": "last+causal", "difference": 0.0129, "test": "T"}
    return Contrast.model_validate({**fields, "estimand": "tasks_like_these", "p": 0.01, "p_holm": 0.2, **changes})


def _comparison(contrast: Contrast) -> Comparison:
    means = [
        CategoryMean(
            category="sts", name="last+causal", mean=0.8302, by_seed=[0.83, 0.8304], seed_std=0.0003, num_tasks=8
        ),
        CategoryMean(category="sts", name="mean+causal", mean=0.8431, by_seed=[0.8431], num_tasks=8),
        CategoryMean(category="sts", name="latent+causal", mean=0.8, by_seed=[0.8], num_tasks=8),
    ]
    designs = ["last+causal", "mean+causal", "latent+causal"]
    return Comparison(reference="last+causal", designs=designs, means=means, contrasts=[contrast])


@pytest.mark.parametrize(
    ("p", "p_holm", "expected"), [(0.049, 0.05, "*"), (0.01, 0.049, "**"), (0.05, 0.05, ""), (None, None, "")]
)
def test_one_star_is_raw_and_two_are_corrected(p: float | None, p_holm: float | None, expected: str) -> None:
    assert stars(_contrast(p=p, p_holm=p_holm)) == expected


def test_the_papers_table_has_the_reference_absolute_and_the_others_as_differences() -> None:
    table = paper_table(runs_view(_comparison(_contrast(seed_spread=0.0021, smallest_p=0.0078125)), ()))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["last+causal", "0.8302"],
        ["mean+causal", "+0.0129*"],
        ["latent+causal", "0.8000"],  # no contrast with the reference in the records: its mean as it is
    ]
    assert [row[1].note for row in table.rows] == ["± 0.0003", "± 0.0021", ""]
    assert table.rows[0][0].note == "paper:1, reference"
    assert (table.columns[1].title, table.columns[1].note) == ("STS", "8 tasks; smallest p\u00a00.0078")


def test_the_first_of_several_contrasts_of_a_pair_is_the_one_shown() -> None:
    comparison = _comparison(_contrast())
    comparison.contrasts.append(_contrast(p=0.001, p_holm=0.001, test="second"))
    table = paper_table(runs_view(comparison, ()))
    assert table.rows[1][1].text == "+0.0129*"
    assert "second" not in table.note


def test_a_design_that_failed_keeps_its_row_with_dashes() -> None:
    study = build_study()
    comparison = study.results.comparison
    lost = DESIGNS[-1]
    comparison.means = [m for m in comparison.means if m.name != lost]
    comparison.contrasts = [c for c in comparison.contrasts if lost not in (c.a, c.b)]
    comparison.overall = [c for c in comparison.overall if lost not in (c.a, c.b)]
    row = next(row for row in paper_table(study_view(study)).rows if row[0].text == lost)
    assert {cell.text for cell in row[1:]} == {"–"}


def test_every_row_is_as_wide_as_the_head() -> None:
    study = build_study()
    view, comparison = study_view(study), study.results.comparison
    tables = [paper_table(view), task_table(view), cost_table(view)]
    tables += [contrast_table(c, "k", "c", "n") for c in (comparison.contrasts, comparison.task_contrasts)]
    for table in tables:
        assert table is not None
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_all_numbers_of_the_papers_table_stand_in_the_records() -> None:
    study = build_study()
    comparison = study.results.comparison
    rows = {row[0].text: row[1:] for row in paper_table(study_view(study)).rows}
    categories = ["sts", "retrieval", "classification", "clustering", "pair_classification"]
    means = {(m.category, m.name): m.mean for m in comparison.means}
    differences = {(c.category, c.a): c.difference for c in comparison.contrasts if c.b == REFERENCE}
    for index, category in enumerate(categories):
        for name in [REFERENCE, *ANCHORS]:
            assert rows[name][index].text == score_text(means.get((category, name)))
        for name in DESIGNS[1:]:
            assert rows[name][index].text.rstrip("*") == difference_text(differences[category, name])


def test_the_task_table_shows_the_mean_over_seeds_and_its_csv_every_run() -> None:
    study = build_study()
    scores = study.results.scores
    table = task_table(study_view(study))
    assert table is not None and table.csv is not None
    first = [s.score for s in scores if (s.task, s.name) == (study.results.tasks[0].task, DESIGNS[0])]
    assert len(first) == 2
    assert [column.title for column in table.columns] == ["Task", *ANCHORS, *DESIGNS]
    assert table.rows[0][1 + len(ANCHORS)].text == f"{(first[0] + first[1]) / 2:.4f}"
    assert [row[-1] for row in table.csv.rows] == [s.score for s in scores]


def test_costs_are_means_over_the_runs_of_a_design() -> None:
    study = build_study()
    table = cost_table(study_view(study))
    assert table is not None
    seconds = [study.measured.costs[f"{DESIGNS[0]}-s{seed}"].train_seconds or 0 for seed in (0, 1)]
    assert table.rows[0][1].text == "10 M"
    assert table.rows[0][2].sort == pytest.approx(sum(seconds) / 2)


def test_contrasts_within_tasks_name_task_and_items() -> None:
    contrast = _contrast(task="sts/STS12", num_items=1000, num_zeros=3, interval=(-0.001, 0.02), verdict="not decided")
    table = contrast_table([contrast], "k", "c", "n")
    shown = dict(zip([c.title for c in table.columns], table.rows[0], strict=True))
    assert shown["Task"].text == "sts/STS12"
    assert (shown["Items"].text, shown["Items"].note) == ("1,000", "3 equal")
    assert (shown["Interval"].text, shown["Interval"].note) == ("[−0.0010, +0.0200]", "95%")
    assert (shown["Contrast"].text, shown["Contrast"].note) == ("mean+causal", "minus last+causal")


def test_foreign_runs_give_tasks_and_scores_and_anchors() -> None:
    items = ItemScores(
        task="sts/A", category="sts", metric="cosine_spearman", score=0.5, num_total=9, fingerprint="f", ids=["1"]
    )
    runs = [
        Run(manifest=RunManifest(name=name, kind=kind, model=name), scores={"sts/A": items})
        for name, kind in (("some/model", "external"), ("bm25", "anchor"))
    ]
    comparison = Comparison(reference=None, designs=["some/model"], means=[], contrasts=[])
    view = runs_view(comparison, runs)
    assert (view.designs, view.anchors) == (["some/model"], ["bm25"])
    table = task_table(view)
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == ["sts/A", "0.5000", "0.5000"]


def test_columns_that_no_contrast_fills_are_left_out() -> None:
    bare = contrast_table([_contrast(num_tasks=8)], "k", "c", "n")
    titles = [column.title for column in bare.columns]
    expected = "Category|Contrast|Difference|Interval|p|p (Holm)|p (BH)|Smallest p|Tasks|Test"
    assert titles == expected.split("|")
    full = contrast_table([_contrast(simultaneous=(-0.01, 0.03), p_by=0.4, num_seeds=2, note="few")], "k", "c", "n")
    shown = dict(zip([c.title for c in full.columns], full.rows[0], strict=True))
    assert shown["Simultaneous interval"].text == "[−0.0100, +0.0300]"
    assert (shown["p (BY)"].text, shown["Seeds"].text, shown["Note"].text) == ("0.400", "2", "few")


def test_the_csv_of_contrasts_loses_nothing() -> None:
    contrast = _contrast(interval=(-0.001, 0.02), by_seed=[0.01, 0.02], reason=["reference"], equivalence=0.005)
    table = contrast_table([contrast], "k", "c", "n")
    assert table.csv is not None
    row = dict(zip(table.csv.header, table.csv.rows[0], strict=True))
    assert set(Contrast.model_fields) - set(row) == {"interval", "simultaneous", "typical_simultaneous"}
    assert (row["low"], row["high"], row["by_seed"], row["reason"]) == (-0.001, 0.02, "0.01 0.02", "reference")


def test_power_variance_and_posterior_show_what_is_known_and_a_dash_else() -> None:
    comparison = build_study().results.comparison
    power, variance = power_table(comparison.power), variance_table(comparison.variance)
    posterior = posterior_table(comparison.posteriors)
    assert power is not None and variance is not None and posterior is not None
    words = "0 of 3 would show a difference of 0.005; all would with 5 seeds, or with 2.5 times the items."
    assert [cell.text for cell in power.rows[0]] == ["STS", "3", "0.0078", "0.0123", "0.0050", words]
    assert [[cell.text for cell in table.rows[0][2:]] for table in (variance, posterior)] == [
        ["0.0020", "0.0010", "0.0040", "80.0%", "20.0%"],
        ["70.0%", "20.0%", "10.0%"],
    ]
    assert power_table([]) is None and variance_table([]) is None and posterior_table([]) is None


def test_a_line_separates_designs_from_anchors() -> None:
    assert paper_table(study_view(build_study())).breaks == [len(DESIGNS)]


def test_power_is_one_row_a_category_and_its_csv_one_row_a_contrast() -> None:
    first = {"category": "sts", "a": "a", "b": "c", "smallest_p": 0.001, "equivalence": 0.01, "sentence": ""}
    records = [
        Power.model_validate({**first, "detectable": 0.02, "tasks_needed": 3960}),
        Power.model_validate({**first, "b": "d", "detectable": 0.005, "seeds_needed": 3, "tasks_needed": 20}),
        Power.model_validate({**first, "category": "retrieval", "detectable": 0.009}),
    ]
    table = power_table(records)
    assert table is not None and table.csv is not None
    assert [[cell.text for cell in row[3:]] for row in table.rows] == [
        [
            "0.0050 to 0.0200",
            "0.0100",
            "1 of 2 would show a difference of 0.01; all would with 3,960 tasks.",  # seeds help only one of the two
        ],
        ["0.0090", "0.0100", "Every contrast would show a difference of 0.01."],
    ]
    assert len(table.csv.rows) == 3


def test_bold_is_the_true_maximum_a_baseline_included() -> None:
    study = build_study()
    for score in study.results.scores:
        if score.name == "bm25":
            score.score = 0.99
    table = task_table(study_view(study))
    assert table is not None
    place = [column.title for column in table.columns].index("bm25")
    row = next(row for row in table.rows if row[0].text == "retrieval/SciFact")
    assert [number for number, cell in enumerate(row) if cell.tone == "strong"] == [place]
    comparison = _comparison(_contrast(p_holm=0.001))
    comparison.means.append(CategoryMean(category="sts", name="bm25", mean=0.9, by_seed=[0.9], num_tasks=8))
    paper = paper_table(runs_view(comparison, ()))
    assert [row[0].text for row in paper.rows if row[1].tone == "strong"] == ["bm25"]


def test_two_stars_beside_not_decided_have_their_reason() -> None:
    held = _contrast(p_holm=0.001, verdict="not decided", note="the means differ in opposite directions")
    shown = contrast_table([held, _contrast(verdict="not decided")], "k", "c", "n").rows
    assert [row[2].note for row in shown] == ["the means differ in opposite directions", ""]
    note = paper_table(runs_view(_comparison(held), ())).note
    assert "1 with two stars not decided: the means differ in opposite directions." in note
    assert "What Are Effective Designs For LLM-Based Embedding Models?" in note  # beside paper:1


def test_the_typical_task_has_its_own_column_and_interval() -> None:
    over_tasks = _contrast(typical=0.003, typical_simultaneous=(0.001, 0.005), interval=(-0.01, 0.03))
    table = contrast_table([over_tasks], "k", "c", "n")
    shown = dict(zip([column.title for column in table.columns], table.rows[0], strict=True))
    assert (shown["Typical task"].text, shown["Typical task"].note) == ("+0.0030", "[+0.0010, +0.0050]")
    assert shown["Interval"].text == "[−0.0100, +0.0300]"


def test_tasks_that_one_model_lacks_are_named_in_the_row() -> None:
    table = contrast_table([_contrast(left_out=["sts/A", "sts/B"])], "k", "c", "n")
    assert table.rows[0][-1].text == "2 tasks that one of them lacks: sts/A, sts/B"
