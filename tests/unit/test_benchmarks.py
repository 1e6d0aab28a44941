"""What the benchmarks name is there: they run by hand, and a task that was renamed would be noticed too late."""

import re

from poolwise.embedded.pydoc import pydoc_suite_path
from support import ROOT


def test_make_runs_every_benchmark():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\b([a-z_]+\.py)\b", makefile))
    scripts = {path.name for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert scripts - named == {"statistics_page.py"}  # which the two benchmarks of the statistics write


def test_embedded_tasks_that_benchmarks_name_exist():
    text = "\n".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    named = set(re.findall(r'"((?:retrieval|classification|clustering|sts)/py[\w-]+)"', text))
    assert len(named) > 5
    assert {name for name in named if not (pydoc_suite_path() / name).is_dir()} == set()
