"""``poolwise compare``: are the differences between runs real?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from poolwise.cli.options import Json


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Runs (poolwise train/eval), studies, or folders of runs.")],
    reference: Annotated[str | None, typer.Option(help="The design or model the others are compared with.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write report.html, report.md and report.tex there.")] = None,
    as_json: Json = False,
) -> None:
    """Compare runs that were evaluated on the same tasks: differences, tests, corrected p, verdicts."""
    from poolwise.errors import EvalError
    from poolwise.records import iter_run_folders, load_run
    from poolwise.report import comparison_json, comparison_text, write_comparison_report
    from poolwise.stats import compare_runs

    found = {folder: list(iter_run_folders(folder)) for folder in folders}
    if empty := [str(folder) for folder, paths in found.items() if not paths]:
        raise EvalError(
            f"no run in {', '.join(empty)}", "wanted folders with run.json", "make one with poolwise eval or study"
        )
    runs = [load_run(path) for paths in found.values() for path in paths]
    comparisons = ["reference"] if reference else ["reference", "pooling_given_attention", "attention_given_pooling"]
    comparison = compare_runs(runs, reference=reference, comparisons=comparisons)
    if out is not None:
        print(f"report: {write_comparison_report(comparison, runs, out)}", file=sys.stderr)
    if as_json:
        inputs = [{"path": str(folder), "kind": "poolwise", "runs": len(paths)} for folder, paths in found.items()]
        print(json.dumps(comparison_json(comparison, inputs), indent=2))
    else:
        print(comparison_text(comparison))
