"""A/B tests in production: a design fixed first, a log of exposures and feedback, verdicts valid at every look."""

from poolwise.experiments.analyse import Analysis, analyse
from poolwise.experiments.assignment import assign
from poolwise.experiments.design import Design, load_design, save_design
from poolwise.experiments.events import Feedback
from poolwise.experiments.importing import import_log
from poolwise.experiments.interleave import interleave
from poolwise.experiments.log import ConflictError, UnknownExposureError, load_experiment, open_log

__all__ = [
    "Analysis",
    "ConflictError",
    "Design",
    "Feedback",
    "UnknownExposureError",
    "analyse",
    "assign",
    "import_log",
    "interleave",
    "load_design",
    "load_experiment",
    "open_log",
    "save_design",
]
