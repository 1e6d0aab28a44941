"""Item scores of several runs -> one Comparison: tests, intervals, verdicts and recommendations. No torch."""

from poolwise.stats.designs.compare import compare_runs
from poolwise.stats.designs.extremes import with_extremes

__all__ = ["compare_runs", "with_extremes"]
