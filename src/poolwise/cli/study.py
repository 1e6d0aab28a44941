"""``poolwise study``: runs the controlled study of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Json, Set, command_line, prepare_base, screen_by, study_view

if TYPE_CHECKING:
    from poolwise.config import Recipe
    from poolwise.jobs.ray_cluster import Cluster
    from poolwise.screening.screen import ScreenBy
    from poolwise.study.estimate import Estimate

AT_MOST = "until_decided: the study stops after the second of {num_seeds} seeds or later, so this is the most it takes"
EXAMPLES = (
    "poolwise study recipes/quickstart.yaml --set train.steps=50",
    "poolwise study recipes/quickstart.yaml --out runs/mine --screen 4 --workers 2",
)


def study(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML file).")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study.", show_default="runs/NAME")] = None,
    set_: Set = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of worker processes.",
            show_default="by cores and memory; with ray one per GPU, or per node without GPUs",
        ),
    ] = None,
    executor: Annotated[str, typer.Option(help="local, or ray: the workers of a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="ray://HOST:PORT, HOST:PORT, or auto.", show_default="a cluster on this machine"
        ),
    ] = None,
    screen: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="First screen the designs, then study the N best.",
            show_default="no screen",
        ),
    ] = None,
    screen_by_: Annotated[
        str, typer.Option("--screen-by", help="heads, or training, as in `poolwise screen --by`.")
    ] = "heads",
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Test after each seed from the second on; stop once every contrast is decided.",
        ),
    ] = False,
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS,STEPS",
            help="Study every design at each of these numbers of training steps, and compare.",
            show_default="the recipe's train.steps",
        ),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Take finished jobs with equal inputs from this study, such as one with fewer seeds; repeatable.",
            show_default="none",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print jobs, time and memory; run nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate every design of a recipe on the same data, and write a report.

    Repeat the command to resume after an interruption.
    """
    from poolwise.config import load_recipe

    changes = [*(set_ or []), *(["until_decided=true"] if until_decided else [])]
    resolved = load_recipe(recipe, changes)
    folder, how = out or Path("runs") / resolved.name, screen_by(screen_by_)
    if how != "heads" and screen is None:
        from poolwise.errors import ConfigError

        raise ConfigError(f"--screen-by {how} without --screen", "wanted both", "add --screen 4")
    if budgets is not None:
        _require_no_screen(screen, "--budgets")
        _study_budgets(resolved, _steps(budgets), folder, dry_run, as_json, workers, executor, ray_address, reuse or ())
        return
    if dry_run:
        from poolwise.cli.plan_view import print_plan

        estimate = _plan(resolved, screen, how)
        print_plan(estimate, as_json, _outlook(resolved, folder, estimate, recipe))
        return
    from poolwise.cli.results_view import print_results

    prepare_base(resolved.base)
    with _cluster(executor, ray_address) as cluster, study_view() as progress:
        if screen is None:
            from poolwise.study.study import run_study

            results = run_study(resolved, folder, progress, command_line(), workers, cluster=cluster, reuse=reuse or ())
        else:
            if reuse:
                _require_no_screen(screen, "--reuse")
            from poolwise.screening.screen import run_screened_study

            results = run_screened_study(resolved, screen, folder, progress, command_line(), workers, cluster, how)
    print_results(results, folder, as_json)
    if progress.num_failed:
        raise typer.Exit(2)


def _require_no_screen(screen: int | None, option: str) -> None:
    from poolwise.errors import ConfigError

    if screen is not None:
        raise ConfigError(f"{option} with --screen", "wanted one of them")


def _steps(text: str) -> list[int]:
    from poolwise.errors import ConfigError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--budgets {text}", "wanted numbers of training steps", "--budgets 60,240,960") from error


def _study_budgets(
    recipe: Recipe,
    budgets: list[int],
    folder: Path,
    dry_run: bool,
    as_json: bool,
    workers: int | None,
    executor: str,
    ray_address: str | None,
    reuse: Sequence[Path],
) -> None:
    from poolwise.study.budgets import plan_budgets, run_budgets

    if dry_run:
        from poolwise.cli.plan_view import print_plans

        print_plans(plan_budgets(recipe, budgets), as_json)
        return
    from poolwise.cli.results_view import print_budgets

    prepare_base(recipe.base)
    with _cluster(executor, ray_address) as cluster, study_view() as progress:
        found = run_budgets(recipe, budgets, folder, progress, command_line(), workers, cluster, reuse)
    print_budgets(found, folder, as_json)
    if progress.num_failed:
        raise typer.Exit(2)


@contextmanager
def _cluster(executor: str, address: str | None) -> Iterator[Cluster | None]:
    from poolwise.errors import ConfigError

    if executor not in ("local", "ray"):
        raise ConfigError(f"--executor {executor}", "wanted local or ray")
    if executor == "local":
        if address is not None:
            raise ConfigError(f"--ray-address {address} without --executor ray", "wanted both or neither")
        yield None
        return
    from poolwise.jobs.ray_cluster import connected

    with connected(address) as cluster:
        yield cluster


def _plan(recipe: Recipe, screen: int | None, how: ScreenBy) -> Estimate:
    if screen is None and recipe.price is not None:
        from poolwise.study.price import price_study

        return price_study(recipe)
    if screen is None:
        from poolwise.study.study import plan_study

        return plan_study(recipe)
    from poolwise.screening.screen import plan_screened_study

    return plan_screened_study(recipe, screen, how)


def _outlook(recipe: Recipe, folder: Path, estimate: Estimate, path: Path) -> list[str]:
    """Return what the study could find by category if a pilot is on disk, and what no test of it can decide."""
    looks = [AT_MOST.format(num_seeds=len(recipe.seeds))] if recipe.until_decided else []
    if not estimate.tasks:
        return looks
    from poolwise.cli.size_view import outlook_lines
    from poolwise.study.pilot import Pilot, find_pilot
    from poolwise.study.size_plan import outlooks

    pilot = find_pilot(folder, recipe.name)
    return looks + outlook_lines(outlooks(recipe, estimate.tasks, pilot or Pilot()), pilot, str(path))
