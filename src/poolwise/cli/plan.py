"""``poolwise plan``: how many items, tasks and seeds a study needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json, Set

EXAMPLES = (
    "poolwise plan recipes/quickstart.yaml --detect 0.01",
    "poolwise plan recipes/quickstart.yaml --detect 0.02 --pilot runs/quickstart",
)


def plan(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a study (YAML file).")],
    detect: Annotated[
        float, typer.Option(metavar="X", help="Difference of scores that the study should find, such as 0.01.")
    ] = 0.01,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Finished study or screen whose variances are used: its folder or results.json.",
            show_default="runs/NAME or runs/NAME-screen if finished, or else default variances",
        ),
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Say which differences a study can find, and how many items, tasks and seeds it needs to find a given one.

    Found means: better or worse in 80 of 100 studies, with all contrasts of the recipe corrected together. Nothing is
    trained; the speed of the base is measured for the study's time.
    """
    from poolwise.config import load_recipe

    resolved = load_recipe(recipe, set_ or [])
    from poolwise.cli.size_view import print_size_plan
    from poolwise.study.pilot import Pilot, find_pilot, load_pilot
    from poolwise.study.size_plan import plan_size, require_plannable
    from poolwise.study.study import plan_study

    known = load_pilot(pilot) if pilot else find_pilot(Path("runs") / resolved.name, resolved.name)
    require_plannable(resolved, detect)
    print_size_plan(plan_size(resolved, plan_study(resolved), known or Pilot(), detect), str(recipe), as_json)
