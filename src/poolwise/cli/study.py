"""``poolwise study``: the controlled study of a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json, Set, command_line, quiet_libraries


def study(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="The study's folder.", show_default="runs/NAME")] = None,
    set_: Set = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the jobs.", show_default="by cores and memory")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan, time and memory; run nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate every design of a recipe on the same data; end with a report.

    A second run of the same command goes on where the first stopped.
    """
    from poolwise.config import load_recipe

    resolved = load_recipe(recipe, set_ or [])
    quiet_libraries()
    folder = out or Path("runs") / resolved.name
    if dry_run:
        from poolwise.cli.plan_view import print_plan
        from poolwise.study.study import plan_study

        print_plan(plan_study(resolved), as_json)
        return
    from poolwise.cli.progress_view import ProgressView
    from poolwise.study.study import run_study

    with ProgressView() as progress:
        path = run_study(resolved, folder, progress, command_line(), workers)
    if as_json:
        sys.stdout.write((folder / "results.json").read_text())
    else:
        from poolwise.records import load_record
        from poolwise.report import comparison_text
        from poolwise.results import StudyResults

        print(comparison_text(load_record(StudyResults, folder / "results.json").results.comparison))
        print(f"\nreport: {path}")
    if progress.num_failed:
        raise typer.Exit(2)
