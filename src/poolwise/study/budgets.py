"""One study at each of several training budgets: which design is best after 60, 240 or 960 steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from poolwise.config import Recipe, build_recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Progress
from poolwise.jobs.ray_cluster import Cluster
from poolwise.report.budgets import write_budgets
from poolwise.results import StudyResults
from poolwise.storage.lock import locked
from poolwise.study.estimate import Estimate
from poolwise.study.folders import require_writable
from poolwise.study.study import check_folder, plan_study, run_study


def at_budgets(recipe: Recipe, budgets: Sequence[int]) -> dict[int, Recipe]:
    """Return the recipe with each number of training steps, ascending.

    Raises: ConfigError for fewer than two different budgets, or one that the recipe's other keys do not allow.
    """
    steps = sorted(set(budgets))
    if len(steps) < 2 or len(steps) < len(budgets) or steps[0] < 1:
        raise ConfigError(
            f"--budgets {','.join(map(str, budgets))}",
            "wanted two or more different numbers of training steps",
            "--budgets 60,240,960",
        )
    tree = recipe.model_dump(mode="json")
    return {count: build_recipe(tree | {"train": tree["train"] | {"steps": count}}) for count in steps}


def budget_folder(out: Path, steps: int) -> Path:
    """Return the folder of the study at one budget."""
    return out / f"steps-{steps}"


def run_budgets(
    recipe: Recipe,
    budgets: Sequence[int],
    out: Path,
    progress: Progress | None = None,
    command: str = "",
    workers: int | None = None,
    cluster: Cluster | None = None,
    reuse: Sequence[Path] = (),
) -> Mapping[int, StudyResults]:
    """Run the study at each budget, the smallest first, and write ``budgets.html`` and ``budgets.md`` into ``out``.

    Every budget is a whole training of its own, with its own warmup and decay. What does not depend on the budget
    (baselines, entrants, an adapted base) is computed once. Repeat the call to resume.

    Args:
        reuse: folders of other studies, such as one at one of these budgets; see ``run_study``.
    Returns: the results of each study, by its number of steps.
    Raises: as ``at_budgets`` and ``run_study``; ConfigError where another process writes into ``out``.
    """
    recipes = at_budgets(recipe, budgets)
    require_writable(out)
    found: dict[int, StudyResults] = {}
    with locked(out):
        for steps, one in recipes.items():
            check_folder(one, budget_folder(out, steps))
        for steps, one in recipes.items():
            done = [budget_folder(out, other) for other in found]
            found[steps] = run_study(
                one, budget_folder(out, steps), progress, command, workers, cluster=cluster, reuse=[*reuse, *done[-1:]]
            )
            write_budgets(found, recipe.name, out)
    return found


def plan_budgets(recipe: Recipe, budgets: Sequence[int]) -> Mapping[int, Estimate]:
    """Return the plan of the study at each budget; jobs that later studies take from the first are in each."""
    return {steps: plan_study(one) for steps, one in at_budgets(recipe, budgets).items()}
