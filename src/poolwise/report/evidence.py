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
_CSV_FIELDS += ["seed_spread", "typical", "standardised", "verdict", "test", "estimand", "note"]
INTERVALS = {"interval": "", "simultaneous": "simultaneous_", "typical_simultaneous": "typical_simultaneous_"}


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
    _Part(Column("Verdict"), lambda c: verdict_cell(c), is_optional=True),
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
    _Part(
        Column("Typical task", is_number=True),
        lambda c: (
            Cell(difference_text(c.typical), c.typical, _optional(c.typical_simultaneous))
            if c.typical is not None
            else None
        ),
        is_optional=True,
    ),
    _Part(Column("Test"), lambda c: Cell(c.test, note=_test_note(c))),
    _Part(Column("Note"), lambda c: Cell(text) if (text := _note(c)) else None, is_optional=True),
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
    """Return what the contrasts of each category can detect, one row a category; None if nothing is known.

    Its CSV has one row a contrast.
    """
    categories = dict.fromkeys(p.category for p in power)
    rows = [_power_row([p for p in power if p.category == category]) for category in categories]
    titles = ["Contrasts", "Smallest p", "Detectable", "Matters from"]
    columns = [Column("Category"), *(Column(t, is_number=True) for t in titles), Column("In words")]
    note = "Detectable: the difference detected in 80 of 100 repeats, from the best to the worst contrast."
    fields = ["category", "a", "b", "smallest_p", "detectable", "equivalence", "seeds_needed", "items_factor"]
    fields += ["tasks_needed", "sentence"]
    return _table("tab-power", "What this study can detect", columns, rows, _csv(power, fields), note)


def _power_row(power: Sequence[Power]) -> list[Cell]:
    """One category's row; what is needed is what its worst contrast needs."""
    found = sorted(p.detectable for p in power if p.detectable is not None)
    matters = max(p.equivalence for p in power)
    ends = " to ".join(dict.fromkeys(score_text(value) for value in (found[:1] + found[-1:])))
    smallest = min(p.smallest_p for p in power)
    return [
        Cell(category_title(power[0].category)),
        Cell(count_text(len(power)), len(power)),
        Cell(p_text(smallest), smallest),
        Cell(ends or "–", found[-1] if found else None),
        Cell(score_text(matters), matters),
        Cell(_power_sentence(power, found, matters)),
    ]


def _power_sentence(power: Sequence[Power], found: Sequence[float], matters: float) -> str:
    if found and len(found) == len(power) and found[-1] <= matters:
        return f"Every contrast would show a difference of {matters:g}."
    start = f"{sum(value <= matters for value in found)} of {len(power)} would show a difference of {matters:g}"
    needed = (
        ([p.seeds_needed for p in power], "seeds"),
        ([p.items_factor for p in power], "times the items"),
        ([p.tasks_needed for p in power], "tasks"),
    )
    # Enough for the contrast that needs most; nothing where one contrast is not helped by this alone.
    most = [(max(value or 0 for value in values), words) for values, words in needed if None not in values]
    if not most:
        return f"{start}; for all, more of seeds, items or tasks alone is not enough."
    return f"{start}; all would with {', or with '.join(f'{_amount(value)} {words}' for value, words in most)}."


def _amount(value: float) -> str:
    return count_text(value) if value >= 100 else f"{value:.3g}"


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


def verdict_cell(c: Contrast) -> Cell | None:
    """The verdict; where a corrected p is small and nothing is decided, with the reason."""
    if c.verdict is None:
        return None
    reason = (c.note or "see the rule for verdicts") if c.verdict == "not decided" and stars(c) == "**" else ""
    return Cell(c.verdict, note=reason, tone=TONES[c.verdict])


def _note(c: Contrast) -> str:
    left_out = f"{len(c.left_out)} tasks that one of them lacks: {', '.join(c.left_out)}" if c.left_out else ""
    return "; ".join(part for part in (c.note, left_out) if part)


def _test_note(c: Contrast) -> str:
    interval = f"; interval: {c.interval_method}" if c.interval and c.interval_method else ""
    return f"about {ESTIMANDS[c.estimand]}{interval}"


def _optional(interval: tuple[float, float] | None) -> str:
    return interval_text(interval) if interval else ""


def _p(value: float | None) -> Cell | None:
    return None if value is None else Cell(p_text(value), value)


def _zeros(c: Contrast) -> str:
    return f"{c.num_zeros} equal" if c.num_zeros else ""


def _contrast_csv(contrasts: Sequence[Contrast]) -> Csv:
    rows = [
        [
            *(getattr(c, field) for field in _CSV_FIELDS),
            *(bound for name in INTERVALS for bound in (getattr(c, name) or (None, None))),
            " ".join(repr(value) for value in c.by_seed),
            " ".join(c.reason),
            " ".join(c.left_out),
        ]
        for c in contrasts
    ]
    bounds = [f"{start}{end}" for start in INTERVALS.values() for end in ("low", "high")]
    return Csv([*_CSV_FIELDS, *bounds, "by_seed", "reason", "left_out"], rows)
