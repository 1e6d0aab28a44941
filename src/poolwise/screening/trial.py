"""A screen by training: designs are trained as in a study, adapter and all, at one seed, on half of ``max_items``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from poolwise.config import Recipe
from poolwise.errors import ConfigError
from poolwise.results import StudyResults
from poolwise.study.shortlist import as_screen
from poolwise.study.study import STUDY, Course

PREFIX = "Screen, one seed: "


def trial_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe that a screen by training runs: the first seed, half of ``max_items`` (all items where it is
    none), every design against the reference.
    """
    others = {"comparisons": ["reference"], "until_decided": False, "entrants": []}
    items = None if recipe.max_items is None else (recipe.max_items + 1) // 2
    return recipe.model_copy(update={"seeds": recipe.seeds[:1], "max_items": items, **others})


def after_trial(recipe: Recipe) -> Recipe:
    """Return the recipe of the study that follows: without the seed that chose its designs, whose luck would count
    twice.

    Raises: ConfigError where no other seed is left.
    """
    if len(recipe.seeds) < 2:
        raise ConfigError(
            f"seeds is {recipe.seeds}, and a screen by training takes the first of them",
            "wanted others for the study, since a design that was chosen for its luck at a seed is too good there",
            "set seeds=[0,1,2,3], or screen by heads",
        )
    return recipe.model_copy(update={"seeds": recipe.seeds[1:]})


def _finish(results: StudyResults, _: Path) -> StudyResults:
    note = (
        "this is a screen: each design is trained at one seed and evaluated with half of max_items; it ranks "
        "candidates, and cannot tell a design from the luck of its seed"
    )
    return as_screen(results, "trial", PREFIX, note)


TRIAL: Course = replace(STUDY, kind="trial", finish=_finish)
