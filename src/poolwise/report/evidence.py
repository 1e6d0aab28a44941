"""The tables of tests: contrasts, power, sources of uncertainty, posterior probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poolwise.report.amounts import (
    count_text,
    difference_text,
    interval_text,
    p_text,
    score_text,
    share_text,
    spread_text,
)
from poolwise.report.blocks import Cell, Column, Csv, Table, Tone
from poolwise.report.view import ESTIMANDS, category_title, stars
from poolwise.results import Contrast, Posterior, Power, VarianceShare

TONES: dict[str, Tone] = {"better": "better", "worse": "worse", "equal": "equal", "not decided": "undecided"}
_CSV_FIELDS = ["category", "task", "a", "b", "difference", "interval_level", "interval_method", "equivalence", "p"]
_CSV_FIELDS += ["p_holm", "p_bh", "p_by", "smallest_p", "num_items", "num_tasks", "num_seeds", "num_zeros"]
_CSV_FIELDS += ["seed_spread", "verdict", "test", "estimand", "note"]


@dataclass(frozen=True)
class _Part:
    """A column of the contrast table, and a function for its cells; it returns None if nothing is known."""

    column: Column
    cell: Callable[[Contrast], Cell | None]
    is_optional: bool = False


_PARTS = [
    _Part(Column("Category"), lambda c: Cell(category_title(c.category))),
    _Part(Column("Task"), lambda c: Cell(c.task) if c.task else None, is_optional=True),
    _Part(Column("Contrast"), lambda c: Cell(c.a, note=f"minus {c.b}")),
    _Part(Column("Verdict"), lambda c: Cell(c.verdict, tone=TONES[c.verdict]) if c.verdict else None, is_optional=True),
    _Part(
        Column("Difference", is_number=True),
        lambda c: Cell(difference_text(c.difference) + stars(c), c.difference, spread_text(c.seed_spread)),
    ),
    _Part(Column("Interval", is_number=True), lambda c: _interval(c)),
    _Part(
        Column("Simultaneous interval", is_number=True),
        lambda c: Cell(interval_text(c.simultaneous), c.difference) if c.simultaneous else None,
        is_optional=True,
    ),
    _Part(Column("p", is_number=True), lambda c: _p(c.p)),
    _Part(
        Column("p (Holm)", is_number=True),
        lambda c: Cell(p_text(c.p_holm), c.p_holm, tone="strong" if stars(c) == "**" else ""),
    ),
    _Part(Column("p (BH)", is_number=True), lambda c: _p(c.p_bh)),
    _Part(Column("p (BY)", is_number=True), lambda c: _p(c.p_by), is_optional=True),
    _Part(Column("Smallest p", is_number=True), lambda c: _p(c.smallest_p)),
    _Part(
        Column("Tasks", is_number=True),
        lambda c: Cell(count_text(c.num_tasks), c.num_tasks, _zeros(c)) if c.num_tasks is not None else None,
        is_optional=True,
    ),
    _Part(
        Column("Items", is_number=True),
        lambda c: Cell(count_text(c.num_items), c.num_items, _zeros(c) if c.task else "") if c.num_items else None,
        is_optional=True,
    ),
    _Part(
        Column("Seeds", is_number=True),
        lambda c: Cell(count_text(c.num_seeds), c.num_seeds) if c.num_seeds is not None else None,
        is_optional=True,
    ),
    _Part(Column("Test"), lambda c: Cell(c.test, note=_test_note(c))),
    _Part(Column("Note"), lambda c: Cell(c.note) if c.note else None, is_optional=True),
]


def contrast_table(contrasts: Sequence[Contrast], key: str, caption: str, note: str) -> Table:
    """Return a table with one row for each contrast and all results of its test, without empty columns."""
    parts = [p for p in _PARTS if not p.is_optional or any(p.cell(c) is not None for c in contrasts)]
    return Table(
        key=key,
        caption=caption,
        columns=[part.column for part in parts],
        rows=[[part.cell(c) or Cell("–", tone="muted") for part in parts] for c in contrasts],
        csv=_contrast_csv(contrasts),
        note=note,
        is_sortable=True,
    )


def power_table(power: Sequence[Power]) -> Table | None:
    """Return the difference that each contrast can detect; None if nothing is known."""
    titles = ["Smallest p", "Detectable", "Matters from", "Seeds needed", "Items needed", "Tasks needed"]
    rows = [
        [
            Cell(category_title(p.category)),
            Cell(p.a, note=f"minus {p.b}"),
            Cell(p_text(p.smallest_p), p.smallest_p),
            Cell(score_text(p.detectable), p.detectable),
            Cell(score_text(p.equivalence), p.equivalence),
            Cell(count_text(p.seeds_needed), p.seeds_needed),
            Cell("–" if p.items_factor is None else f"{p.items_factor:.3g} times", p.items_factor),
            Cell(count_text(p.tasks_needed), p.tasks_needed),
            Cell(p.sentence),
        ]
        for p in power
    ]
    columns = [Column("Category"), Column("Contrast"), *(Column(t, is_number=True) for t in titles), Column("In words")]
    note = (
        "Detectable: the difference detected in 80 of 100 repeats. Needed: how many seeds, items or tasks, changed "
        "alone, would detect the difference that matters; a dash if changing them alone is not enough."
    )
    fields = ["category", "a", "b", "smallest_p", "detectable", "equivalence", "seeds_needed", "items_factor"]
    fields += ["tasks_needed", "sentence"]
    return _table("tab-power", "What this study can detect", columns, rows, _csv(power, fields), note)


def variance_table(shares: Sequence[VarianceShare]) -> Table | None:
    """Return the sources of uncertainty of each difference; None if nothing is known."""
    sources = list(dict.fromkeys(source for share in shares for source in share.shares))
    titles = ["Items (sd)", "Seeds (sd)", "Tasks (sd)", *(f"Share of {source}" for source in sources)]
    rows = [
        [
            Cell(category_title(s.category)),
            Cell(s.a, note=f"minus {s.b}"),
            *(Cell(score_text(value), value) for value in (s.item_std, s.seed_std, s.task_std)),
            *(Cell(share_text(s.shares.get(source)), s.shares.get(source)) for source in sources),
        ]
        for s in shares
    ]
    columns = [Column("Category"), Column("Contrast"), *(Column(title, is_number=True) for title in titles)]
    note = "Standard deviations of the category's mean difference, by source, and their shares of the variance."
    numbers = [
        [s.category, s.a, s.b, s.item_std, s.seed_std, s.task_std, *(s.shares.get(source) for source in sources)]
        for s in shares
    ]
    content = Csv(["category", "a", "b", "item_std", "seed_std", "task_std", *sources], numbers)
    return _table("tab-variance", "Where the uncertainty comes from", columns, rows, content, note)


def posterior_table(posteriors: Sequence[Posterior]) -> Table | None:
    """Return the probabilities of the Bayesian signed-rank test; None if it was not run."""
    titles = ["First better", "Practically equal", "Second better"]
    rows = [
        [
            Cell(category_title(p.category)),
            Cell(p.a, note=f"minus {p.b}"),
            *(Cell(share_text(value), value) for value in (p.a_better, p.equal, p.b_better)),
        ]
        for p in posteriors
    ]
    columns = [Column("Category"), Column("Contrast"), *(Column(title, is_number=True) for title in titles)]
    note = "Probabilities, shown beside the tests; no verdict uses them."
    fields = ["category", "a", "b", "equivalence", "a_better", "equal", "b_better"]
    return _table("tab-posterior", "Bayesian signed-rank test", columns, rows, _csv(posteriors, fields), note)


def _table(
    key: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], content: Csv, note: str
) -> Table | None:
    return Table(key, caption, columns, rows, csv=content, note=note, is_sortable=True) if rows else None


def _csv(records: Sequence[object], fields: Sequence[str]) -> Csv:
    return Csv(fields, [[getattr(record, field) for field in fields] for record in records])


def _interval(c: Contrast) -> Cell | None:
    if c.interval is None:
        return None
    return Cell(interval_text(c.interval), c.difference, f"{100 * c.interval_level:g}%")


def _test_note(c: Contrast) -> str:
    interval = f"; interval: {c.interval_method}" if c.interval and c.interval_method else ""
    return f"about {ESTIMANDS[c.estimand]}{interval}"


def _p(value: float | None) -> Cell | None:
    return None if value is None else Cell(p_text(value), value)


def _zeros(c: Contrast) -> str:
    return f"{c.num_zeros} equal" if c.num_zeros else ""


def _contrast_csv(contrasts: Sequence[Contrast]) -> Csv:
    rows = [
        [
            *(getattr(c, field) for field in _CSV_FIELDS),
            *(c.interval or (None, None)),
            *(c.simultaneous or (None, None)),
            " ".join(repr(value) for value in c.by_seed),
            " ".join(c.reason),
        ]
        for c in contrasts
    ]
    return Csv([*_CSV_FIELDS, "low", "high", "simultaneous_low", "simultaneous_high", "by_seed", "reason"], rows)
