"""Exports: a trained model in the formats of other programs, each checked in a fresh process without poolwise."""

from poolwise.export.check import Checked, Difference, verify_export
from poolwise.export.targets import TARGETS
from poolwise.export.write import export_model

__all__ = ["TARGETS", "Checked", "Difference", "export_model", "verify_export"]
