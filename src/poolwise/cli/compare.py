"""``poolwise compare``: are the differences between runs real?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Runs (poolwise train/eval), studies, or folders of runs.")],
    reference: Annotated[str | None, typer.Option(help="The design or model the others are compared with.")] = None,
    as_json: Json = False,
) -> None:
    """Compare runs that were evaluated on the same tasks: differences, tests, corrected p, verdicts."""
    from poolwise.cli.results_view import print_comparison
    from poolwise.errors import EvalError
    from poolwise.records import iter_run_folders, load_run
    from poolwise.stats import compare_runs

    found = {folder: list(iter_run_folders(folder)) for folder in folders}
    if empty := [str(folder) for folder, runs in found.items() if not runs]:
        raise EvalError(
            f"no run in {', '.join(empty)}", "wanted folders with run.json", "make one with poolwise eval or study"
        )
    runs = [load_run(path) for paths in found.values() for path in paths]
    comparisons = ["reference"] if reference else ["reference", "pooling_given_attention", "attention_given_pooling"]
    comparison = compare_runs(runs, reference=reference, comparisons=comparisons)
    if as_json:
        print(comparison.model_dump_json(indent=2))
    else:
        print_comparison(comparison)
