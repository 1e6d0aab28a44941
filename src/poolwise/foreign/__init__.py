"""Reads results of other tools as runs: MTEB results and predictions, TREC runs, tables of scores."""

from poolwise.foreign.benchmarks import scope_of
from poolwise.foreign.compare import compare_inputs
from poolwise.foreign.read_inputs import Inputs, read_inputs
from poolwise.foreign.telling import input_entries, input_lines, source_lines

__all__ = ["Inputs", "compare_inputs", "input_entries", "input_lines", "read_inputs", "scope_of", "source_lines"]
