"""The decision cards: for each use one model, its scores beside the baselines, its cost, and how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Literal

from poolwise.report.amounts import count_text, score_text, short_count_text
from poolwise.report.blocks import Card, Cards, Cell, Column, Table
from poolwise.report.view import OVERALL, View, category_title
from poolwise.results import Recommendation
from poolwise.wording import listed

QUERY = "how do I read a file"


def decision_cards(view: View, *, is_screen: bool = False, place: str = "") -> Cards | None:
    """Return one card for each recommendation, the mean over categories first; None if there is none.

    Args:
        is_screen: the runs are heads on a frozen base, which cannot be loaded as models.
        place: where the folders of ``view`` are, in words.
    """
    found = sorted(view.comparison.recommendations, key=lambda r: r.category != OVERALL)
    cards = [_card(view, r, is_screen, place, is_main=place_ == 0) for place_, r in enumerate(found)]
    return Cards(cards) if cards else None


def card_scores(view: View, found: Recommendation) -> dict[str, float]:
    """Return the mean of the recommended model, then of the highest one, then of the baselines.

    Records made before recommendations had scores are read from the means, if all are over the same tasks.
    """
    if found.scores:
        return found.scores
    means = {n: m for n in view.names if (m := view.mean(found.category, n))}
    if len({means[n].num_tasks for n in view.designs if n in means}) > 1:
        return {}
    names = dict.fromkeys([found.recommended, found.best, *view.anchors])
    return {name: means[name].mean for name in names if name in means}


def baselines_above(view: View, found: Recommendation) -> list[str]:
    """Return the baselines whose mean is higher than that of the recommended model."""
    scores = card_scores(view, found)
    own = scores.get(found.recommended)
    return [name for name in view.anchors if own is not None and scores.get(name, own) > own]


def card_table(view: View) -> Table | None:
    """Return the decisions as one table, for a paper: use, model, score, baselines, decided or not."""
    found = sorted(view.comparison.recommendations, key=lambda r: r.category != OVERALL)
    if not found:
        return None
    rows = []
    for r in found:
        scores = card_scores(view, r)
        cells = [Cell(score_text(scores.get(n)), note="") for n in (r.recommended, *view.anchors)]
        words = {"decided": "decided", "open": "not decided", "stop": "below a baseline: do not deploy"}
        rows.append([Cell(category_title(r.category)), Cell(r.recommended), *cells, Cell(words[_kind(view, r)])])
    columns = [Column("Use"), Column("Model"), Column("Score", is_number=True)]
    columns += [*(Column(name, is_number=True) for name in view.anchors), Column("Decision")]
    return Table("tab-decision", "The model for each use, beside the baselines", columns, rows)


def _warning_of(view: View, found: Recommendation) -> str:
    """The record's warning; from the means, that a baseline is higher, here or in a category of the overall mean."""
    parts = [found.warning or _warning(found.recommended, baselines_above(view, found))]
    if found.category == OVERALL and not parts[0]:
        parts += [_below(view, category, found.recommended) for category in view.categories]
    return " ".join(part for part in parts if part)


def _below(view: View, category: str, name: str) -> str:
    own = view.mean(category, name)
    above = [n for n in view.anchors if own and (mean := view.mean(category, n)) and mean.mean > own.mean]
    return f"In {category_title(category)}, {name} is below {listed(above)}: do not deploy it there." if above else ""


def _kind(view: View, found: Recommendation) -> Literal["decided", "open", "stop"]:
    if baselines_above(view, found):
        return "stop"
    return "decided" if found.decided and not _warning_of(view, found) else "open"


def _card(view: View, found: Recommendation, is_screen: bool, place: str, *, is_main: bool) -> Card:
    name, kind = found.recommended, _kind(view, found)
    folder = view.folders.get(name, "")
    can_load = bool(folder) and kind != "stop" and not is_screen
    return Card(
        title=_title(view, found.category),
        kind=kind,
        name=name,
        sentence="" if kind == "stop" else found.sentence,  # it says "use it"
        warning=_warning_of(view, found),
        scores=list(card_scores(view, found).items()),
        details=_details(view, found, folder, is_screen, place),
        command=f"poolwise eval {shlex.quote(folder)} --tasks my-tasks --out my-scores" if can_load else "",
        python=_python(folder) if can_load else "",
        is_main=is_main,
    )


def _title(view: View, category: str) -> str:
    if category != OVERALL:
        return category_title(category)
    return f"{category_title(category)} ({listed([category_title(c) for c in view.categories])} together)"


def _warning(name: str, above: Sequence[str]) -> str:
    """The warning for records made before recommendations had one; nothing was tested there, and the means show it."""
    if not above:
        return ""
    return f"{name} is below {listed(above)} in the mean: do not deploy it. Train longer, or on more data."


def _details(view: View, found: Recommendation, folder: str, is_screen: bool, place: str) -> list[tuple[str, str]]:
    name = found.recommended
    cost = []
    if name in view.parameters:
        cost.append(f"{short_count_text(view.parameters[name])} trained parameters")
    if speed := view.cost(name, lambda c: c.encode_texts_per_second):
        cost.append(f"encodes {count_text(speed)} texts/s on this machine")
    seeds = sorted({s.seed for s in view.scores if s.name == name})
    others = f" (seed {seeds[0]} of {', '.join(map(str, seeds))})" if len(seeds) > 1 else ""
    details = [("Above", listed(found.above))] if found.above else []
    details += [("Cost", ", ".join(cost))] if cost else []
    details += [("Folder", f"{folder}{others}{place}")] if folder else []
    if is_screen:
        details.append(("To use it", "a screen trains only heads: run poolwise study on this recipe with --screen 4"))
    return details


def _python(folder: str) -> str:
    return (
        "import poolwise\n"
        f"model = poolwise.load_model({json.dumps(folder, ensure_ascii=False)})\n"
        f'vector = model.encode_query("{QUERY}")'
    )
