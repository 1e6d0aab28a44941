"""Scores and recommendations at several training budgets, as a page and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poolwise.report.amounts import score_text, spread_text
from poolwise.report.blocks import Block, Bullets, Cell, Code, Column, Document, Section, Table, Tone
from poolwise.report.figures.budget_lines import budgets_figure
from poolwise.report.markdown import markdown_document
from poolwise.report.page import html_document
from poolwise.report.plain import plain_table
from poolwise.report.provenance import study_facts
from poolwise.report.view import OVERALL, category_title
from poolwise.results import CategoryMean, StudyResults
from poolwise.storage.whole_files import write_text

HTML, MARKDOWN = "budgets.html", "budgets.md"
NOTE = (
    "Mean over tasks; ± is the standard deviation over seeds. Every budget is a training of its own, from the start. "
    "No test compares budgets; the tests between designs are in the report of each budget."
)
Studies = Mapping[int, StudyResults]
"""The results of one study at each number of training steps, ascending."""


def budgets_document(found: Studies, name: str) -> Document:
    """Return the page of the studies at several budgets."""
    designs = _designs(found)
    scores = {
        category: {
            name: {steps: mean.mean for (steps, other), mean in _means(found, category).items() if other == name}
            for name in designs
        }
        for category in _categories(found)
    }
    sections = [Section("curves", "Score by training budget", [budgets_figure(scores, designs)], is_folded=False)]
    for category in _categories(found):
        blocks: list[Block] = [Bullets(budget_sentences(found, category)), budget_table(found, category)]
        sections.append(Section(f"budget-{_key(category)}", category_title(category), blocks))
    facts = [("Training steps", ", ".join(f"{steps:,}" for steps in found)), *_common_facts(found)]
    if commands := dict.fromkeys(study.measured.command for study in found.values() if study.measured.command):
        sections.append(Section("repeat", "How to repeat", [Code(command, "sh") for command in commands]))
    return Document(title=f"Training budgets: {name}", facts=facts, sections=sections)


def _common_facts(found: Studies) -> list[tuple[str, str]]:
    """Return what is the same at every budget; times and hashes of recipes are in the reports of each."""
    facts = [study_facts(study) for study in found.values()]
    return [fact for fact in facts[0] if all(fact in other for other in facts)]


def budget_table(found: Studies, category: str) -> Table:
    """Return the scores of one category: one row per design and baseline, one column per number of steps."""
    designs, means = _designs(found), _means(found, category)
    baselines = dict.fromkeys(name for _, name in means if name not in designs)
    best = {steps: max(means[steps, name].mean for name in designs if (steps, name) in means) for steps in found}
    return Table(
        key=f"tab-budget-{_key(category)}",
        caption=f"{category_title(category)} by number of training steps",
        columns=[Column("Design"), *(Column(f"{steps:,}", is_number=True) for steps in found)],
        rows=[
            [
                Cell(name),
                *(_cell(means.get((steps, name)), None if name in baselines else best[steps]) for steps in found),
            ]
            for name in (*designs, *baselines)
        ],
        note=NOTE,
        breaks=[len(designs)] if baselines else [],
    )


def _cell(mean: CategoryMean | None, best: float | None) -> Cell:
    if mean is None:
        return Cell(score_text(None))
    tone: Tone = "strong" if mean.mean == best else ""
    return Cell(score_text(mean.mean), sort=mean.mean, note=spread_text(mean.seed_std), tone=tone)


def budget_sentences(found: Studies, category: str) -> list[str]:
    """Return what each budget's study recommends for one category, and whether that was decided."""
    sentences = []
    for steps, study in found.items():
        choice = next((one for one in study.results.comparison.recommendations if one.category == category), None)
        if choice is not None:
            highest = "" if choice.best == choice.recommended else f"; the highest is {choice.best}"
            open_ = "" if choice.decided else f" (not decided{highest})"
            sentences.append(f"After {steps:,} steps: {choice.recommended}{open_}")
    return sentences


def budgets_text(found: Studies) -> str:
    """Return the tables and recommendations as plain text."""
    parts = []
    for category in _categories(found):
        table = budget_table(found, category)
        parts += [f"{table.caption}\n{plain_table(table)}", "\n".join(budget_sentences(found, category))]
    return "\n\n".join([*filter(None, parts), NOTE])


def write_budgets(found: Studies, name: str, out: Path) -> None:
    """Write ``budgets.html`` and ``budgets.md`` into a folder."""
    document = budgets_document(found, name)
    write_text(out / HTML, html_document(document))
    write_text(out / MARKDOWN, markdown_document(document))


def _designs(found: Studies) -> list[str]:
    return list(dict.fromkeys(name for study in found.values() for name in study.results.comparison.designs))


def _means(found: Studies, category: str) -> dict[tuple[int, str], CategoryMean]:
    """Return the means of one category by number of steps and name."""
    return {
        (steps, mean.name): mean
        for steps, study in found.items()
        for mean in study.results.comparison.means
        if mean.category == category
    }


def _categories(found: Studies) -> list[str]:
    """Return the categories in which every study scored a design, the mean over categories last."""
    names = [
        {mean.category for mean in study.results.comparison.means if mean.name in study.results.comparison.designs}
        for study in found.values()
    ]
    first = dict.fromkeys(mean.category for mean in next(iter(found.values())).results.comparison.means)
    shared = [name for name in first if all(name in some for some in names)]
    return sorted(shared, key=lambda name: name == OVERALL)


def _key(category: str) -> str:
    return category.replace("_", "-")
