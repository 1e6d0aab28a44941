"""The plan of a study as a table or JSON (``--dry-run``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolwise.cli.options import show, show_json
from poolwise.study.estimate import Estimate


def print_plan(estimate: Estimate, as_json: bool, outlook: Sequence[str] = ()) -> None:
    """Print every job with its expected time, the totals, and what the study could find."""
    if as_json:
        show_json(_as_json(estimate, outlook))
        return
    from rich.console import Console
    from rich.table import Table

    total = sum(estimate.seconds.values())
    table = Table("job", "id", "expected", box=None)
    for job in estimate.jobs:
        table.add_row(job.label, job.id, duration(estimate.seconds[job.id]))
    console = Console()
    console.print(table)
    console.print(
        f"{len(estimate.jobs)} jobs, about {duration(total)}, peak memory about {estimate.peak_memory_gib:.1f} GiB "
        "(estimates, within a factor of two)"
    )
    if estimate.disk_gib is not None:
        what = "base, models and checkpoints" if estimate.notes else "stored states"
        console.print(f"{what}: about {estimate.disk_gib:.2f} GiB of disk")
    for line in (*estimate.notes, *outlook):
        console.print(line, highlight=False)


def print_plans(estimates: Mapping[int, Estimate], as_json: bool) -> None:
    """Print the plan of the study at each number of training steps."""
    if as_json:
        show_json({steps: _as_json(estimate, ()) for steps, estimate in estimates.items()})
        return
    for steps, estimate in estimates.items():
        show(f"{steps} steps")
        print_plan(estimate, as_json=False)
    total = sum(sum(estimate.seconds.values()) for estimate in estimates.values())
    show(f"all budgets: at most about {duration(total)}; what is equal at all of them runs once")


def _as_json(estimate: Estimate, outlook: Sequence[str]) -> dict[str, object]:
    rows = [
        {"id": job.id, "job": job.label, "needs": list(job.needs), "seconds": round(estimate.seconds[job.id], 1)}
        for job in estimate.jobs
    ]
    found: dict[str, object] = {"jobs": rows, "seconds": round(sum(estimate.seconds.values()), 1)}
    found["peak_memory_gib"] = round(estimate.peak_memory_gib, 1)
    found |= {} if estimate.disk_gib is None else {"disk_gib": round(estimate.disk_gib, 3)}
    found |= {"outlook": list(outlook)} if outlook else {}
    return found | ({"notes": list(estimate.notes)} if estimate.notes else {})


def duration(seconds: float) -> str:
    """Return seconds in words: ``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
