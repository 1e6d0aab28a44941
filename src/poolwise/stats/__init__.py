"""Item scores of several runs -> one Comparison: tests that say what they speak about. No torch."""

from poolwise.stats.compare import compare_runs

__all__ = ["compare_runs"]
