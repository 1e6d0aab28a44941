"""Reports from records: HTML, Markdown, LaTeX, plain text and JSON. Runs no test and no model."""

from poolwise.report.figures.critical import critical_difference_svg
from poolwise.report.plain import comparison_json, comparison_markdown, comparison_text, study_text
from poolwise.report.write import REPORTS, write_comparison_report, write_reports

__all__ = [
    "REPORTS",
    "comparison_json",
    "comparison_markdown",
    "comparison_text",
    "critical_difference_svg",
    "study_text",
    "write_comparison_report",
    "write_reports",
]
