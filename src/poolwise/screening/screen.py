"""``run_screen``: tries every pooling of a recipe on a frozen base; ``run_screened_study``: then studies the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from poolwise.config import Recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Job, Progress
from poolwise.jobs.ray_cluster import Cluster
from poolwise.results import StudyResults
from poolwise.screening.screen_estimate import estimate_screen, require_disk
from poolwise.screening.screen_jobs import perform
from poolwise.screening.screen_plan import plan_screen, screen_recipe
from poolwise.screening.trial import TRIAL, after_trial, trial_recipe
from poolwise.storage.new_folders import require_new_folder
from poolwise.study.estimate import Estimate
from poolwise.study.folders import read_json
from poolwise.study.inputs import StudyInputs
from poolwise.study.plan import SCREEN_FOLDER
from poolwise.study.shortlist import HEADS, as_screen, mean_ranks, shortlist, write_shortlist
from poolwise.study.study import STUDY, Course, plan_study, run_study

ScreenBy = Literal["heads", "training"]
ROUGH = (
    "screens by heads have ranked designs only roughly as studies did; by training they do better, for up to a quarter "
    "of a study's time (docs/how-to/screen.md has the figures)"
)
"""What a screen trains: only heads on a frozen base, or the designs at one seed."""
BY_TRAINING = "a screen by training, one seed and half of max_items"
PREFIX = "Screen, frozen base, heads only: "


def _finish(results: StudyResults, _: Path) -> StudyResults:
    note = (
        "this is a screen: the base is frozen and only heads are trained, without LoRA; it ranks candidates and "
        "proves nothing about trained designs"
    )
    return as_screen(results, "screen", PREFIX, note)


SCREEN = Course("screen", plan_screen, estimate_screen, perform, _finish)


def course_of(out: Path) -> Course:
    """Return whether a folder holds a study or a screen, from its plan."""
    path = out / "plan.json"
    kind = read_json(path).get("kind") if path.is_file() else STUDY.kind
    return next((course for course in (SCREEN, TRIAL) if course.kind == kind), STUDY)


def run_screen(
    recipe: Recipe,
    out: Path,
    progress: Progress | None = None,
    command: str = "",
    workers: int | None = None,
    cluster: Cluster | None = None,
    by: ScreenBy = "heads",
) -> StudyResults:
    """Run the remaining jobs of a screen, write its reports, and return its results.

    Args:
        recipe: the recipe of a study.
        out: the screen's folder: the same layout as a study's, with the states in ``states/``.
        by: what is trained: "heads" only, on a frozen base that reads every text once; or "training": the designs as a
            study trains them, but at one seed and with half of ``max_items``.
    Raises: ConfigError where the recipe trains the whole base, ``out`` belongs to another recipe, or the states do
        not fit on the disk; any error in the inputs, before a job starts.
    """
    if by == "training":
        return run_study(trial_recipe(recipe), out, progress, command, workers, TRIAL, cluster)

    def estimate(jobs: Sequence[Job], recipe: Recipe, inputs: StudyInputs) -> Estimate:
        found = estimate_screen(jobs, recipe, inputs)
        require_disk(found, out)
        return found

    frozen = screen_recipe(recipe)
    if progress is not None:
        progress.note(ROUGH)
    course = replace(SCREEN, estimate=estimate)
    return run_study(frozen, out, progress, command, workers, course, cluster)


def plan_screening(recipe: Recipe, by: ScreenBy = "heads") -> Estimate:
    """Return the jobs of a screen with their expected seconds, memory and disk space (``--dry-run``)."""
    if by == "training":
        return plan_study(trial_recipe(recipe), TRIAL)
    return plan_study(screen_recipe(recipe), SCREEN)


def plan_screened_study(recipe: Recipe, keep: int, by: ScreenBy = "heads") -> Estimate:
    """Return the jobs of a screen and of the study after it, assuming that the first ``keep`` designs are best."""
    _require_choice(recipe, keep)
    first, ranks = plan_screening(recipe, by), {name: float(place) for place, name in enumerate(recipe.designs)}
    kept = shortlist(ranks, keep, recipe.reference)
    then = plan_study(_then(recipe, kept, by))
    memory = max(first.peak_memory_gib, then.peak_memory_gib)
    return Estimate([*first.jobs, *then.jobs], first.seconds | then.seconds, memory, first.disk_gib)


def _require_choice(recipe: Recipe, keep: int) -> None:
    if keep >= len(recipe.designs):
        raise ConfigError(
            f"--screen {keep} keeps all {len(recipe.designs)} designs", "wanted fewer than the recipe lists"
        )


def _then(recipe: Recipe, kept: list[str], by: ScreenBy) -> Recipe:
    """Return the recipe of the study after a screen."""
    return (after_trial(recipe) if by == "training" else recipe).model_copy(update={"designs": kept})


def run_screened_study(
    recipe: Recipe,
    keep: int,
    out: Path,
    progress: Progress | None = None,
    command: str = "",
    workers: int | None = None,
    cluster: Cluster | None = None,
    by: ScreenBy = "heads",
) -> StudyResults:
    """Screen the designs of a recipe, then study the ``keep`` best and the reference; return the study's results.

    The screen is saved in ``out/screen``; the study's notes say which designs it left out. After a screen by training,
    the study leaves out the seed of the screen.

    Raises: ConfigError where no design would be left out, or no seed is left, or ``out`` holds a study that did not
        start with a screen.
    """
    _require_choice(recipe, keep)
    _then(recipe, recipe.designs, by)  # fails before the screen, where no seed is left
    screen = out / SCREEN_FOLDER
    if not (screen / "study.json").is_file():
        require_new_folder(out, "screen", but=[SCREEN_FOLDER])
    found = run_screen(recipe, screen, progress, command, workers, cluster, by).results
    ranks = mean_ranks(found.comparison.means, recipe.designs)
    kept = shortlist(ranks, keep, recipe.reference)
    write_shortlist(screen, ranks, kept, HEADS if by == "heads" else BY_TRAINING)
    return run_study(_then(recipe, kept, by), out, progress, command, workers, cluster=cluster)
