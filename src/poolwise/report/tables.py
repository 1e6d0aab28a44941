"""The tables of scores and costs, made from a view of the records."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.report.amounts import (
    count_text,
    difference_text,
    gib_text,
    p_text,
    score_text,
    seconds_text,
    short_count_text,
    spread_text,
)
from poolwise.report.blocks import Cell, Column, Csv, Table, Tone
from poolwise.report.glossary import PAPER
from poolwise.report.view import METRIC_TITLES, OVERALL, View, category_title, stars
from poolwise.results import Contrast, TaskInfo

BOLD = "Bold: the highest mean of each column, baselines included."


def paper_table(view: View) -> Table:
    """Return the main table: scores of the reference, differences of other designs to it, scores of baselines."""
    reference = view.comparison.reference
    rows = [[_design_cell(view, name), *(_score_cell(view, c, name) for c in view.uses)] for name in view.designs]
    rows += [[_baseline_cell(view, name), *(_anchor_cell(view, c, name) for c in view.uses)] for name in view.anchors]
    shown = [c for category in view.uses for n in view.designs if (c := view.reference_contrast(category, n))]
    tests = sorted({c.test for c in shown})
    note = (
        f"Signed cells are differences to {reference}; all others are mean scores over the tasks of a category. "
        f"* raw p < 0.05; ** corrected p < 0.05 (Holm). {BOLD} ± standard deviation over seeds. "
        f"Test: {', '.join(tests)}.{_starred(shown)}"
        if shown
        else f"Mean scores over the tasks of a category. {BOLD} ± standard deviation over seeds."
    )
    if any(view.alias(name) for name in view.designs):
        note += f" {PAPER}"
    return Table(
        key="tab-paper",
        caption="Mean score by category" + (f", as differences to {reference}" if shown else ""),
        columns=[Column("Design"), *(_category_column(view, c) for c in view.uses)],
        rows=rows,
        csv=_paper_csv(view),
        note=note,
        breaks=[len(view.designs)] if view.anchors else [],
        is_sortable=True,
    )


def _starred(contrasts: Sequence[Contrast]) -> str:
    """Why contrasts with two stars are not decided, if there are any."""
    held = [c for c in contrasts if stars(c) == "**" and c.verdict == "not decided"]
    reasons = dict.fromkeys(c.note or "its joint interval includes 0" for c in held)
    return f" {len(held)} with two stars not decided: {'; '.join(reasons)}." if held else ""


def _is_highest(view: View, category: str, name: str) -> bool:
    means = {n: mean.mean for n in view.names if (mean := view.mean(category, n))}
    return name in means and means[name] == max(means.values())


def _category_column(view: View, category: str) -> Column:
    num_tasks = view.num_tasks(category)
    if category == OVERALL:
        return Column(category_title(category), f"mean of {len(view.categories)} categories", is_number=True)
    smallest = view.smallest_p(category)
    tasks = f"{num_tasks} task{'' if num_tasks == 1 else 's'}"
    return Column(
        category_title(category), tasks + (f"; smallest p\u00a0{p_text(smallest)}" if smallest else ""), is_number=True
    )


def _design_cell(view: View, name: str) -> Cell:
    parts = [view.alias(name), "reference" if name == view.comparison.reference else ""]
    return Cell(name, note=", ".join(part for part in parts if part))


def _baseline_cell(view: View, name: str) -> Cell:
    return Cell(name, note="not trained here" if name in view.entrants else "baseline")


def _score_cell(view: View, category: str, name: str) -> Cell:
    contrast = view.reference_contrast(category, name)
    if contrast is None:
        return _anchor_cell(view, category, name)
    tone: Tone = "strong" if _is_highest(view, category, name) else ""
    mean = view.mean(category, name)
    return Cell(
        difference_text(contrast.difference) + stars(contrast),
        # Sort by the mean: the column also holds the means of the reference and the baselines.
        sort=mean.mean if mean else None,
        note=spread_text(contrast.seed_spread),
        tone=tone,
    )


def _anchor_cell(view: View, category: str, name: str) -> Cell:
    mean = view.mean(category, name)
    if mean is None:
        return Cell("–", tone="muted")
    tone: Tone = "strong" if _is_highest(view, category, name) else ""
    return Cell(score_text(mean.mean), sort=mean.mean, note=spread_text(mean.seed_std), tone=tone)


def _paper_csv(view: View) -> Csv:
    rows = []
    for category in view.uses:
        for name in view.names:
            mean, contrast = view.mean(category, name), view.reference_contrast(category, name)
            tested = [contrast.difference, contrast.p, contrast.p_holm] if contrast else [None, None, None]
            rows.append([category, name, mean.mean if mean else None, mean.seed_std if mean else None, *tested])
    return Csv(["category", "name", "mean", "seed_std", "difference", "p", "p_holm"], rows)


def task_table(view: View) -> Table | None:
    """Return all scores: tasks as rows; baselines, then designs as columns; None if there are no scores."""
    if not view.scores:
        return None
    names = [*view.anchors, *view.designs]  # baselines first: they stay in view where the table is wider than the page
    columns = [Column("Task"), *(Column(name, view.alias(name), is_number=True) for name in names)]
    rows = []
    for task in view.tasks:
        values = {name: view.seed_mean(task.task, name) for name in names}
        best = max((value for value in values.values() if value is not None), default=None)
        cells = [_task_cell(values[name], values[name] == best) for name in names]
        rows.append([Cell(task.task, note=_task_note(task)), *cells])
    return Table(
        key="tab-tasks",
        caption="Score of each design on each task",
        columns=columns,
        rows=rows,
        csv=Csv(
            ["task", "name", "seed", "run", "score"], [[s.task, s.name, s.seed, s.run, s.score] for s in view.scores]
        ),
        note="Baselines first. Each cell is the mean over seeds; the CSV contains every run. Bold: the highest score "
        "of each row, baselines included (not a verdict).",
        is_sortable=True,
    )


def _task_note(task: TaskInfo) -> str:
    total = f" of {count_text(task.num_total)}" if task.num_total != task.num_items else ""
    metric = METRIC_TITLES.get(task.metric, task.metric)
    return f"{metric}, {count_text(task.num_items)}{total} items" if task.num_items else metric


def _task_cell(value: float | None, is_best: bool) -> Cell:
    return Cell(score_text(value), sort=value, tone="muted" if value is None else "strong" if is_best else "")


def cost_table(view: View) -> Table | None:
    """Return parameters, times and memory by design; None if nothing was measured."""
    if not view.costs and not view.parameters:
        return None
    rows, numbers = [], []
    for name in view.names:
        values = [
            view.parameters.get(name),
            view.cost(name, lambda c: c.train_seconds),
            view.cost(name, lambda c: c.train_tokens_per_second),
            view.cost(name, lambda c: c.train_peak_memory_gib),
            view.cost(name, lambda c: c.eval_seconds),
            view.cost(name, lambda c: c.encode_texts_per_second),
        ]
        if any(value is not None for value in values):
            texts = [form(value) for form, value in zip(_COST_FORMS, values, strict=True)]
            cells = [Cell(text, sort=value) for text, value in zip(texts, values, strict=True)]
            rows.append([_design_cell(view, name), *cells])
            numbers.append([name, *values])
    if not rows:
        return None
    titles = ["Trainable parameters", "Training", "Tokens/s", "Peak memory", "Evaluation", "Texts/s"]
    header = ["name", "trainable_parameters", "train_seconds", "train_tokens_per_second", "train_peak_memory_gib"]
    return Table(
        key="tab-cost",
        caption="Cost by design, mean over runs",
        columns=[Column("Design"), *(Column(title, is_number=True) for title in titles)],
        rows=rows,
        csv=Csv([*header, "eval_seconds", "encode_texts_per_second"], numbers),
        note="Measured on the machine named under How to repeat; times differ from run to run.",
        is_sortable=True,
    )


_COST_FORMS = (short_count_text, seconds_text, count_text, gib_text, seconds_text, count_text)
