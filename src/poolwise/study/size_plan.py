"""Which differences a recipe's study can find, and what to change in the recipe so that it finds a given one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poolwise.config import Recipe
from poolwise.errors import ConfigError
from poolwise.jobs.job import JobKind
from poolwise.stats.designs.contrasts import Pair, PlannedDesign, declare
from poolwise.stats.designs.study_size import Family, Planned, Size, Way, together, ways
from poolwise.study.estimate import Estimate
from poolwise.study.pilot import Pilot
from poolwise.tasks import Task

NO_SEED = "one seed: no test can decide between designs; at least 2 seeds are needed"
NO_PAIR = "no contrasts between designs are declared: there is nothing to test"
ONE_TASK = "one task: results are about this task, and no test can say whether they hold on other tasks"


@dataclass(frozen=True)
class CategoryOutlook:
    """What a study can find in one category. ``detectable`` is a difference of scores (0 to 1); None if undecidable."""

    planned: Planned
    origin: str
    detectable: float | None
    notes: tuple[str, ...]

    @property
    def category(self) -> str:
        return self.planned.category


@dataclass(frozen=True)
class Together:
    """The cheapest change of the whole recipe: its seeds, its ``max_items`` (None: all), a multiple of its time."""

    seeds: int
    max_items: int | None
    times: float


@dataclass(frozen=True)
class SizePlan:
    """The plan of a recipe: each category's outlook and its ways to find ``effect``, and what does it for all."""

    effect: float
    pilot: Pilot
    num_tests: int
    outlooks: Sequence[CategoryOutlook]
    ways: Mapping[str, Sequence[Way]]
    together: Together | None


def outlooks(recipe: Recipe, tasks: Sequence[Task], pilot: Pilot) -> list[CategoryOutlook]:
    """Return what the recipe's study can find in each category of its tasks.

    Law: the family is that of the study's report: the declared contrasts, times the categories where all are corrected
    together.
    """
    totals: dict[str, list[int]] = {}
    for task in tasks:
        totals.setdefault(task.category, []).append(task.num_total)
    pairs = _pairs(recipe)
    count = len(pairs) if recipe.family == "category" else len(pairs) * len(totals)
    family = Family(count, len(recipe.designs), recipe.until_decided)
    found = []
    for category, counts in totals.items():
        variances, origin = pilot.of(category)
        planned = Planned(category, tuple(counts), recipe.max_items, len(recipe.seeds), variances, family)
        notes = [NO_PAIR] if not pairs else [NO_SEED] if len(recipe.seeds) < 2 else []
        notes += [ONE_TASK] if len(counts) == 1 else []
        found.append(CategoryOutlook(planned, origin, planned.detectable(), tuple(notes)))
    return found


def require_plannable(recipe: Recipe, effect: float) -> None:
    """Raise ConfigError where the effect is not above 0 and below 1, or the recipe declares no contrast."""
    if not 0 < effect < 1:
        raise ConfigError(f"--detect is {effect:g}", "wanted a difference of scores between 0 and 1, such as 0.01")
    if not _pairs(recipe):
        raise ConfigError(
            f"{len(recipe.designs)} design(s) with comparisons: [{', '.join(recipe.comparisons)}] give no contrast to "
            "test",
            hint="add a design, or a comparison such as reference",
        )


def plan_size(recipe: Recipe, estimate: Estimate, pilot: Pilot, effect: float) -> SizePlan:
    """Return what the recipe's study can find, and the cheapest ways to find ``effect`` in every category.

    Args:
        estimate: of the recipe's study, with its tasks.
        effect: a difference of scores, above 0 and below 1.
    Raises: ConfigError as ``require_plannable`` does.
    """
    require_plannable(recipe, effect)
    found = outlooks(recipe, estimate.tasks, pilot)
    cost = _Cost(recipe, estimate)
    options = {one.category: ways(one.planned, effect, cost.of_category) for one in found}
    for_all = None
    if not all(one.planned.finds(effect) for one in found):
        cheapest = together([one.planned for one in found], effect, cost.of_recipe)
        for_all = None if cheapest is None else Together(*cheapest)
    return SizePlan(effect, pilot, found[0].planned.family.count, found, options, for_all)


def _pairs(recipe: Recipe) -> list[Pair]:
    return declare([PlannedDesign(name) for name in recipe.designs], recipe.reference, recipe.comparisons)


class _Cost:
    """The time of a study of another size, as a multiple of the present one.

    Training grows with the seeds; evaluation with seeds and items (of all tasks: a cap counts for all of them).
    """

    def __init__(self, recipe: Recipe, estimate: Estimate) -> None:
        self.recipe, self.estimate = recipe, estimate
        self.num_items = self._items(recipe.max_items)

    def of_recipe(self, seeds: int, max_items: int | None) -> float:
        """Return the multiple with other seeds and another ``max_items``."""
        return self._times(seeds, self._items(max_items))

    def of_category(self, size: Size, planned: Planned) -> float:
        """Return the multiple if one category has this size; a cap on items changes the other tasks as well."""
        if size.num_tasks > planned.size.num_tasks:
            return self._times(size.seeds, self.num_items + sum(size.items) - sum(planned.size.items))
        cap = self.recipe.max_items if size.items == planned.size.items else max(size.items)
        return self._times(size.seeds, self._items(cap))

    def _items(self, max_items: int | None) -> int:
        return sum(
            task.num_total if max_items is None else min(task.num_total, max_items) for task in self.estimate.tasks
        )

    def _times(self, seeds: int, num_items: int) -> float:
        more_seeds, more_items = seeds / len(self.recipe.seeds), num_items / self.num_items
        # An adaptation and a search for learning rates are made once, whatever the size.
        growth: dict[JobKind, float] = {
            "train": more_seeds,
            "eval": more_seeds * more_items,
            "anchor": more_items,
            "entrant": more_items,
        }
        seconds = [(growth.get(job.kind, 1.0), self.estimate.seconds[job.id]) for job in self.estimate.jobs]
        now = sum(one for _, one in seconds)
        return sum(times * one for times, one in seconds) / now if now > 0 else more_seeds * more_items
