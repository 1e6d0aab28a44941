"""Many models without a reference: every pair in a matrix, groups worked out by hand."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from poolwise.report import comparison_text, write_comparison_report
from poolwise.report.matrix import MAX_GROUPS, group_lines, groups, has_matrix, matrix_blocks, pair_matrix
from poolwise.report.view import View, runs_view
from poolwise.results import CategoryMean, Comparison, Contrast, Verdict

# By mean, the highest first: a is above d and e, b above e; c is equal to d; nothing else is decided.
NAMES = ["a", "b", "c", "d", "e"]
DECIDED: dict[tuple[str, str], Verdict] = {
    ("a", "d"): "better",
    ("e", "a"): "worse",
    ("b", "e"): "better",
    ("c", "d"): "equal",
}


def _contrast(a: str, b: str, verdict: Verdict) -> Contrast:
    return Contrast(
        category="sts",
        a=a,
        b=b,
        difference=0.01,
        test="T",
        estimand="checkpoints_on_tasks",
        p=0.01,
        smallest_p=0.001,
        verdict=verdict,
    )


def _comparison(names: list[str] = NAMES, reference: str | None = None) -> Comparison:
    pairs = [pair for pair in combinations(names, 2) if (pair[1], pair[0]) not in DECIDED]
    pairs += [pair for pair in DECIDED if pair not in pairs and set(pair) <= set(names)]
    return Comparison(
        reference=reference,
        designs=names,
        means=[
            CategoryMean(category="sts", name=n, mean=0.9 - 0.1 * i, by_seed=[0.5], num_tasks=3)
            for i, n in enumerate(names)
        ],
        contrasts=[_contrast(a, b, DECIDED.get((a, b), "not decided")) for a, b in pairs],
    )


def _view(names: list[str] = NAMES, reference: str | None = None) -> View:
    return runs_view(_comparison(names, reference), ())


def test_the_matrix_has_the_verdict_on_every_pair_from_both_sides() -> None:
    table = pair_matrix(_view(), "sts")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["1 a", "0.9000", "", "?", "?", ">", ">"],
        ["2 b", "0.8000", "?", "", "?", "?", ">"],
        ["3 c", "0.7000", "?", "?", "", "=", "?"],
        ["4 d", "0.6000", "<", "?", "=", "", "?"],
        ["5 e", "0.5000", "<", "<", "?", "?", ""],
    ]


def test_a_group_is_a_largest_set_of_models_none_of_which_are_shown_to_differ() -> None:
    assert groups(_view(), "sts") == [["a", "b", "c"], ["b", "c", "d"], ["c", "d", "e"]]
    assert group_lines(_view(), "sts")[0] == "Not separated: a, b and c."


def test_pairs_that_were_not_compared_have_a_dash() -> None:
    view = _view()
    view.comparison.contrasts.pop(0)  # a - b
    assert pair_matrix(view, "sts").rows[0][3].text == "–"


def test_a_matrix_is_for_more_than_four_models_without_a_reference() -> None:
    assert has_matrix(_view())
    assert not has_matrix(_view(NAMES[:4])) and not has_matrix(_view(NAMES, "a"))
    assert matrix_blocks(_view(NAMES[:4])) == []


def test_too_many_groups_are_not_listed() -> None:
    """Pairs of twins: one of each pair makes a group, 2 to the power of 6 in all."""
    names = [f"{letter}{number}" for number in range(6) for letter in "xy"]
    comparison = _comparison(names)
    for contrast in comparison.contrasts:
        contrast.verdict = "better" if contrast.a[1] == contrast.b[1] else "not decided"
    view = runs_view(comparison, ())
    assert groups(view, "sts") is None
    assert group_lines(view, "sts") == [f"More than {MAX_GROUPS} overlapping groups: see the matrix."]


def test_report_and_terminal_show_the_matrix_and_fold_the_list_of_pairs(tmp_path: Path) -> None:
    comparison = _comparison()
    text = comparison_text(comparison)
    assert "All pairs: STS" in text and "Not separated: c, d and e." in text
    assert "Simultaneous interval" not in text
    assert "Simultaneous interval" in comparison_text(comparison, verbose=True)
    page = write_comparison_report(comparison, [], tmp_path).read_text()
    assert 'id="tab-pairs-sts"' in page and 'id="fig-groups"' in page
    assert "<summary>All pairs</summary>" in page
    assert "All pairs: STS" in (tmp_path / "report.md").read_text()
    assert "tab:pairs-sts" in (tmp_path / "report.tex").read_text()


def test_where_nothing_is_decided_one_sentence_stands_for_the_matrix() -> None:
    comparison = _comparison()
    for contrast in comparison.contrasts:
        contrast.verdict = "not decided"
    text = comparison_text(comparison)
    assert "No pair is decided in: STS." in text and "All pairs: STS" not in text


def test_the_head_of_a_report_names_few_of_many_models(tmp_path: Path) -> None:
    names = [f"model-{number:02d}" for number in range(30)]
    write_comparison_report(_comparison(names), [], tmp_path)
    head = (tmp_path / "report.md").read_text().partition("\n## ")[0]
    assert "model-00, model-01, model-02, model-03, model-04 and 25 more" in head
    assert "model-05" not in head
