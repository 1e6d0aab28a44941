"""``poolwise screen``: ranks the designs of a recipe at a part of a study's cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import By, Json, Set, command_line, prepare_base, screen_by, study_view

EXAMPLES = (
    "poolwise screen recipes/quickstart.yaml --set designs=all",
    "poolwise screen recipes/quickstart.yaml --by training --dry-run",
)


def screen(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a study (YAML file).")],
    out: Annotated[Path | None, typer.Option(help="Folder of the screen.", show_default="runs/NAME-screen")] = None,
    set_: Set = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of worker processes.", show_default="by cores and memory")
    ] = None,
    by: By = "heads",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print jobs, time, memory and disk; run nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Rank the designs of a recipe cheaply: on a frozen base that encodes every text once, or trained at one seed.

    Use the ranking to choose candidates for a study. --set designs=all takes every pooling with both attentions.
    Repeat the command to resume after an interruption.
    """
    from poolwise.config import load_recipe

    resolved, how = load_recipe(recipe, set_ or []), screen_by(by)
    from poolwise.screening.screen import plan_screening, run_screen

    folder = out or Path("runs") / f"{resolved.name}-screen"
    if dry_run:
        from poolwise.cli.plan_view import print_plan

        print_plan(plan_screening(resolved, how), as_json)
        return
    from poolwise.cli.results_view import print_results

    prepare_base(resolved.base)
    with study_view() as progress:
        results = run_screen(resolved, folder, progress, command_line(), workers, by=how)
    print_results(results, folder, as_json)
    if progress.num_failed:
        raise typer.Exit(2)
