"""The size of a planned study in words: what it can find, and what to change, as a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence

from poolwise.cli.options import show_json
from poolwise.stats.designs.power import MOST_SEEDS
from poolwise.stats.designs.study_size import Size, Way
from poolwise.study.pilot import Pilot
from poolwise.study.size_plan import CategoryOutlook, SizePlan, Together

Json = dict[str, object]


def outlook_lines(outlooks: Sequence[CategoryOutlook], pilot: Pilot | None, recipe: str) -> list[str]:
    """Return one line for each category, or one for all without a pilot, and what no test can decide."""
    lines = []
    for one in outlooks:
        found = []
        if pilot is not None and one.detectable is not None:
            found.append(f"could find a difference of about {one.detectable:.3f} ({_origin(one, pilot)})")
        if found or one.notes:
            lines.append(f"{_title(one.category)}: {'; '.join([*found, *one.notes])}")
    if pilot is None:
        lines.append(f"which differences this study could find: poolwise plan {recipe}")
    return lines


def print_size_plan(plan: SizePlan, recipe: str, as_json: bool) -> None:
    """Print what the study can find by category, and the ways to find the wanted difference."""
    if as_json:
        show_json(_as_json(plan))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("category", "tasks", "items a task", "seeds", "can find", "variances", box=None)
    for one in plan.outlooks:
        size = one.planned.size
        found = "–" if one.detectable is None else f"{one.detectable:.3f}"
        cells = [_title(one.category), str(size.num_tasks), _range(size.items), str(size.seeds), found]
        table.add_row(*cells, one.origin)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    has_looks = plan.outlooks[0].planned.family.has_looks
    after_looks = ", at the last look of a study with until_decided" if has_looks else ""
    console.print(
        f'"can find": this difference is called better or worse in 80 of 100 studies, with {plan.num_tests} tests '
        f"corrected together{after_looks}"
    )
    console.print(_source(plan))
    for note in plan.pilot.notes:
        console.print(f"note: {note}")
    console.print(f"\nTo find {plan.effect:g}:")
    for line in _sentences(plan, recipe):
        console.print(line)


def _source(plan: SizePlan) -> str:
    if plan.pilot.path is None:
        return (
            "variances: defaults, of a recorded study with nine designs; your base and tasks can differ by a factor of "
            "two, so run a small study and give it as --pilot"
        )
    parts = {one.origin for one in plan.outlooks}
    others = "; defaults where it has none" if "defaults" in parts else ""
    return f"variances: of {plan.pilot.name} ({plan.pilot.path}){others}"


def _sentences(plan: SizePlan, recipe: str) -> list[str]:
    lines = []
    for one in plan.outlooks:
        if one.planned.finds(plan.effect):
            words = "found by the recipe as it is"
        elif found := plan.ways[one.category]:
            words = "; or ".join(_way(one, way) for way in found)
        else:
            words = _out_of_reach(one)
        missing = _missing(one, plan.ways[one.category]) if not one.planned.finds(plan.effect) else ""
        notes = "".join(f"; {note}" for note in one.notes)
        lines.append(f"  {_title(one.category)}: {words}{missing}{notes}")
    if all(one.planned.finds(plan.effect) for one in plan.outlooks):
        return lines
    return [*lines, _all_at_once(plan, recipe)]


def _way(one: CategoryOutlook, way: Way) -> str:
    now, cost = one.planned.size, f"{way.times:.1f} times the time"
    items = f"{_range(way.size.items)} items a task"
    changes = {
        "items": items,
        "seeds": f"{way.size.seeds} seeds",
        "tasks": f"{way.size.num_tasks} tasks instead of {now.num_tasks}",
        "items and seeds": f"{way.size.seeds} seeds and {items}",
    }
    return f"{changes[way.change]} ({cost})"


def _missing(one: CategoryOutlook, found: Sequence[Way]) -> str:
    """Say which single changes are not enough."""
    able = {way.change for way in found}
    short = [change for change in ("items", "seeds", "tasks") if change not in able]
    if not found or not short or one.planned.seeds < 2:
        return ""
    return f"; more {' or '.join(short)} alone are not enough"


def _out_of_reach(one: CategoryOutlook) -> str:
    most = Size(one.planned.capped(None), MOST_SEEDS)
    found = one.planned.detectable(most)
    assert found is not None
    return f"out of reach: with all items and {MOST_SEEDS} seeds the study can find {found:.3f}"


def _all_at_once(plan: SizePlan, recipe: str) -> str:
    if plan.together is None:
        missing = [
            _title(one.category)
            for one in plan.outlooks
            if not one.planned.finds(plan.effect) and all(way.change == "tasks" for way in plan.ways[one.category])
        ]
        return (
            f"More items and seeds are not enough for {', '.join(missing)}: add tasks to the suite, or plan for a "
            f"larger difference than {plan.effect:g}"
        )
    return f"In every category: {_command(plan.together, recipe)}  ({plan.together.times:.1f} times the time)"


def _command(change: Together, recipe: str) -> str:
    seeds = ",".join(map(str, range(change.seeds)))
    cap = "null" if change.max_items is None else str(change.max_items)
    return f'poolwise study {recipe} --set "seeds=[{seeds}]" --set max_items={cap}'


def _as_json(plan: SizePlan) -> Json:
    change = plan.together
    return {
        "detect": plan.effect,
        "tests": plan.num_tests,
        "pilot": None if plan.pilot.path is None else str(plan.pilot.path),
        "notes": list(plan.pilot.notes),
        "categories": [_category(one, plan.ways[one.category]) for one in plan.outlooks],
        "together": None if change is None else change.__dict__,
    }


def _category(one: CategoryOutlook, found: Sequence[Way]) -> Json:
    size = one.planned.size
    return {
        "category": one.category,
        "tasks": size.num_tasks,
        "items": list(size.items),
        "seeds": size.seeds,
        "detectable": one.detectable,
        "variances": one.origin,
        "item_std": one.planned.variances.item,
        "seed_std": one.planned.variances.seed,
        "notes": list(one.notes),
        "ways": [
            {
                "change": way.change,
                "items": list(way.size.items),
                "tasks": way.size.num_tasks,
                "seeds": way.size.seeds,
                "max_items": way.max_items,
                "detectable": way.detectable,
                "times": way.times,
            }
            for way in found
        ],
    }


def _title(category: str) -> str:
    return category.replace("_", " ")


def _origin(one: CategoryOutlook, pilot: Pilot) -> str:
    return f"variances of {pilot.path}" if one.origin == "pilot" else "default variances"


def _range(items: Sequence[int]) -> str:
    low, high = min(items), max(items)
    return str(low) if low == high else f"{low} to {high}"
