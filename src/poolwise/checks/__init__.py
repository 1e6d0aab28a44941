"""Measured checks of any embedding model or base, and corrected copies of models (``poolwise doctor``)."""

from poolwise.checks.check import LINES, Check, Diagnosis, Fix
from poolwise.checks.diagnose import diagnose
from poolwise.checks.examine import examine

__all__ = ["LINES", "Check", "Diagnosis", "Fix", "diagnose", "examine"]
