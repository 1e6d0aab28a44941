"""Many models without a reference: a matrix of all pairs, and groups of models that no test separates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.report.amounts import score_text
from poolwise.report.blocks import Block, Bullets, Cell, Column, Csv, Folded, Paragraph, Table, Tone
from poolwise.report.figures.groups import groups_figure
from poolwise.report.view import OVERALL, View, category_title
from poolwise.wording import listed

MIN_MODELS = 5
MAX_GROUPS = 12
"""More groups than this say little: the matrix shows every pair."""
SYMBOLS = {"better": ">", "worse": "<", "equal": "=", "not decided": "?"}
TONES: dict[str, Tone] = {"better": "better", "worse": "worse", "equal": "equal", "not decided": "undecided"}
LEGEND = "> better, < worse, = practically equal, ? not decided, – not compared."
TURNED = {"better": "worse", "worse": "better"}


def has_matrix(view: View) -> bool:
    """Return whether the pairs are shown as a matrix: more than four models and no reference."""
    return view.comparison.reference is None and len(view.designs) >= MIN_MODELS


def matrix_blocks(view: View) -> list[Block]:
    """Return the figure of groups and the matrix of the first use; the matrices of the other uses are collapsed."""
    if not has_matrix(view):
        return []
    uses = sorted(decided_uses(view), key=lambda category: category != OVERALL)
    silent = [category_title(category) for category in view.uses if category not in uses]
    blocks: list[Block] = []
    if figure := groups_figure({c: (view_means(view, c), groups(view, c) or []) for c in uses}):
        blocks.append(figure)
    for place, category in enumerate(uses):
        parts: list[Block] = [pair_matrix(view, category), *_group_list(view, category)]
        blocks += parts if place == 0 else [Folded(f"Pairs: {category_title(category)}", parts)]
    if silent:
        blocks.append(Paragraph(f"No pair is decided in: {', '.join(silent)}."))
    return blocks


def decided_uses(view: View) -> list[str]:
    """Return the uses in which any pair of models has a verdict."""
    return [c for c in view.uses if set(_pairs(view, c).values()) & {"better", "worse", "equal"}]


def pair_matrix(view: View, category: str) -> Table:
    """Return the verdicts on all pairs of a use: rows and columns are models, the highest mean first."""
    means, verdicts = view_means(view, category), _pairs(view, category)
    names = list(means)
    rows = [
        [
            Cell(f"{number} {name}"),
            Cell(score_text(means[name]), means[name]),
            *(_cell(verdicts.get((name, other), ""), name == other) for other in names),
        ]
        for number, name in enumerate(names, start=1)
    ]
    return Table(
        key=f"tab-pairs-{category}",
        caption=f"All pairs: {category_title(category)}",
        columns=[Column("Model"), Column("Mean", is_number=True), *(Column(str(n + 1)) for n in range(len(names)))],
        rows=rows,
        csv=Csv(["category", "a", "b", "verdict"], [[category, a, b, v] for (a, b), v in verdicts.items()]),
        note=f"Each cell: the model of the row against the model of the column. {LEGEND}",
        is_grid=True,
    )


def groups(view: View, category: str) -> list[list[str]] | None:
    """Return the largest sets of models no two of which are shown to differ; None if there are too many sets.

    A model is in several groups where it is not separated from either, as with the bars under an average-rank diagram.
    """
    verdicts, names = _pairs(view, category), list(view_means(view, category))
    joined = {a: {b for b in names if b != a and verdicts.get((a, b)) not in TURNED} for a in names}
    found: list[list[str]] = []
    _cliques([], names, set(), joined, found)
    if len(found) > MAX_GROUPS:
        return None
    order = {name: place for place, name in enumerate(names)}
    return sorted(
        (sorted(group, key=order.__getitem__) for group in found), key=lambda group: [order[n] for n in group]
    )


def _cliques(
    group: list[str], candidates: Sequence[str], seen: set[str], joined: Mapping[str, set[str]], found: list[list[str]]
) -> None:
    """Add every maximal clique that extends ``group`` to ``found``, until there are too many to show.

    Source: Bron and Kerbosch (1973), with the pivot of Tomita et al. (2006).
    """
    if len(found) > MAX_GROUPS:
        return
    if not candidates and not seen:
        found.append(group)
        return
    pivot = max([*candidates, *sorted(seen)], key=lambda name: len(joined[name] & set(candidates)))
    left, past = list(candidates), set(seen)
    for name in [name for name in candidates if name not in joined[pivot]]:
        _cliques([*group, name], [n for n in left if n in joined[name]], past & joined[name], joined, found)
        left.remove(name)
        past.add(name)


def view_means(view: View, category: str) -> dict[str, float]:
    """Return the means of the models of a use, the highest first."""
    means = {name: mean.mean for name in view.designs if (mean := view.mean(category, name))}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def group_lines(view: View, category: str) -> list[str]:
    """Return the groups in words, the one with the highest mean first; models alone are separated from all others."""
    found = groups(view, category)
    if found is None:
        return [f"More than {MAX_GROUPS} overlapping groups: see the matrix."]
    joined = [f"Not separated: {listed(group, most=None)}." for group in found if len(group) > 1]
    alone = [group[0] for group in found if len(group) == 1]
    return joined + ([f"Separated from all others: {listed(alone, most=None)}."] if alone else [])


def _group_list(view: View, category: str) -> list[Block]:
    return [Bullets(group_lines(view, category))]


def _pairs(view: View, category: str) -> dict[tuple[str, str], str]:
    verdicts: dict[tuple[str, str], str] = {}
    for contrast in view.contrasts(category):
        verdict = contrast.verdict or "not decided"
        verdicts.setdefault((contrast.a, contrast.b), verdict)
        verdicts.setdefault((contrast.b, contrast.a), TURNED.get(verdict, verdict))
    return verdicts


def _cell(verdict: str, is_same: bool) -> Cell:
    if is_same:
        return Cell("")
    return Cell(SYMBOLS.get(verdict, "–"), tone=TONES.get(verdict, "muted"))
