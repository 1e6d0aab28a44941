"""The decision card: which model, what it is below, and how to load it; a warning is no recommendation."""

from __future__ import annotations

from poolwise.report.blocks import Card, Cards
from poolwise.report.card import card_table, decision_cards
from poolwise.report.document import study_document
from poolwise.report.latex import latex_table
from poolwise.report.markdown import markdown_block
from poolwise.report.page import html_block
from poolwise.report.view import View, runs_view, study_view
from poolwise.results import CategoryMean, Comparison, Recommendation
from unit.report.synthetic import DESIGNS, REFERENCE, build_study


def _mean(name: str, mean: float, num_tasks: int = 4) -> CategoryMean:
    return CategoryMean(category="retrieval", name=name, mean=mean, by_seed=[mean], num_tasks=num_tasks)


def _view(bm25: float, **changes: object) -> View:
    found = Recommendation(
        category="retrieval", best="mean+causal", recommended="mean+causal", sentence="Use it.", decided=True
    )
    comparison = Comparison(
        reference=None,
        designs=["mean+causal", "last+causal"],
        means=[_mean("mean+causal", 0.4), _mean("last+causal", 0.3), _mean("bm25", bm25)],
        contrasts=[],
        recommendations=[found.model_copy(update=changes)],
    )
    return runs_view(comparison, ())


def _card(view: View) -> Card:
    cards = decision_cards(view)
    assert cards is not None and len(cards.items) == 1
    return cards.items[0]


WARNING = "mean+causal is below bm25: do not deploy it. Train longer, or use bm25."


def test_a_model_below_a_baseline_is_not_recommended() -> None:
    view = _view(0.9, scores={"mean+causal": 0.4, "bm25": 0.9}, warning=WARNING)
    card = _card(view)
    assert (card.kind, card.warning, card.sentence, card.python, card.command) == ("stop", WARNING, "", "", "")
    page, markdown = html_block(Cards([card])), markdown_block(Cards([card]))
    assert page.index("below bm25") < page.index("Best of those compared") < page.index("0.9000")
    assert "do not deploy</span>" in page and ">Use<" not in page and "load_model" not in page
    assert markdown.startswith(f"### Retrieval: mean+causal (do not deploy)\n\n**{WARNING}**")
    assert "<td class=strong>0.9000" in page and "<td class=strong>0.4000" not in page
    table = card_table(view)
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == [
        "Retrieval",
        "mean+causal",
        "0.4000",
        "0.9000",
        "below a baseline: do not deploy",
    ]
    assert "do not deploy" in latex_table(table)


def test_records_without_a_warning_are_compared_with_their_baselines_all_the_same() -> None:
    card = _card(_view(0.9))
    assert (card.kind, list(card.scores)) == ("stop", [("mean+causal", 0.4), ("bm25", 0.9)])
    assert card.warning.startswith("mean+causal is below bm25 in the mean: do not deploy it.")
    above = _card(_view(0.2))
    assert (above.kind, above.warning, above.sentence) == ("decided", "", "Use it.")


def test_a_model_not_shown_to_be_above_a_baseline_is_not_called_decided() -> None:
    warning = "mean+causal is not shown to be better than bm25: training has not been shown to pay."
    card = _card(_view(0.39, scores={"mean+causal": 0.4, "bm25": 0.39}, warning=warning))
    assert (card.kind, card.warning, card.label) == ("open", warning, "Best of those compared")


def test_means_over_different_tasks_are_not_set_beside_each_other() -> None:
    view = _view(0.9)
    view.comparison.means[1].num_tasks = 3
    assert _card(view).scores == [] and _card(view).kind == "decided"


def test_the_overall_card_comes_first_and_names_its_uses() -> None:
    cards = decision_cards(study_view(build_study()))
    assert cards is not None
    assert [card.is_main for card in cards.items] == [True] + [False] * 5
    first = cards.items[0]
    assert first.title == ("Overall (STS, Retrieval, Classification, Clustering and Pair classification together)")
    assert first.name == REFERENCE


def test_the_overall_card_names_the_categories_in_which_a_baseline_is_higher() -> None:
    """bm25 has no mean over categories, so the overall mean alone would hide that it wins in retrieval."""
    study = build_study()
    for mean in study.results.comparison.means:
        if (mean.category, mean.name) == ("retrieval", "bm25"):
            mean.mean = 0.99
    cards = decision_cards(study_view(study))
    assert cards is not None
    first = cards.items[0]
    assert first.warning == f"In Retrieval, {REFERENCE} is below bm25: do not deploy it there."
    assert (first.kind, first.label) == ("open", "Best of those compared")


def test_the_card_of_a_study_has_cost_folder_and_three_lines_to_load_it() -> None:
    cards = decision_cards(study_view(build_study()), place=", here")
    assert cards is not None
    card = next(card for card in cards.items if card.title == "STS")
    details = dict(card.details)
    assert details["Cost"].startswith("59 M trained parameters, encodes ")
    assert details["Folder"] == f"runs/{DESIGNS[4]}-s0 (seed 0 of 0, 1), here"
    assert len(card.python.splitlines()) == 3
    assert card.command == f"poolwise eval runs/{DESIGNS[4]}-s0 --tasks my-tasks --out my-scores"


def test_the_lines_of_the_card_are_python() -> None:
    """Every name in them exists: compiled, and looked up in the package."""
    import poolwise

    cards = decision_cards(study_view(build_study()))
    assert cards is not None
    compile(cards.items[0].python, "card", "exec")
    assert "load_model" in poolwise.__all__


def test_a_name_that_a_shell_or_python_would_read_is_quoted() -> None:
    study = build_study()
    for found in study.results.comparison.recommendations:
        found.recommended = "latent(keys=last)+causal"
    cards = decision_cards(study_view(study))
    assert cards is not None
    assert "eval 'runs/latent(keys=last)+causal-s0'" in cards.items[0].command


def test_heads_of_a_screen_are_not_offered_to_load() -> None:
    study = build_study()
    study.results.kind = "screen"
    verdict = next(section for section in study_document(study).sections if section.key == "verdict")
    (cards,) = verdict.blocks
    assert isinstance(cards, Cards)
    assert not any(card.python or card.command for card in cards.items)
    assert "--screen 4" in dict(cards.items[0].details)["To use it"]
