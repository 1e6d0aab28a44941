"""What is not there is reported before torch is imported, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import ROOT

RECIPE = str(ROOT / "recipes" / "quickstart.yaml")
COMMANDS = [
    ["study", RECIPE, "--out", "o", "--set", "base=./absent"],
    ["study", RECIPE, "--out", "o", "--set", "data.train=absent.jsonl"],
    ["study", RECIPE, "--out", "o", "--set", "tasks=absent", "--dry-run"],
    ["study", RECIPE, "--out", "o", "--set", "designs=[absent]"],
    ["train", "--design", "mean+causal", "--base", "./absent", "--data", "poolwise/pydoc", "--out", "o"],
    ["eval", "./absent", "--tasks", "absent", "--out", "o"],
    ["encode", "./absent", "absent.jsonl", "--out", "o"],
    ["doctor", "./absent"],
    ["export", "./absent", "--target", "merged", "--out", "o"],
    ["mine", "absent.jsonl", "--model", "./absent", "--out", "o"],
    ["serve", "./absent"],
    ["search", "./absent", "a query"],
    ["import", "./absent", "--out", "o"],
    ["repro", "absent"],
    ["report", "absent"],
    ["push", "absent", "me/winner"],
    ["index", "absent", "--out", "o"],
    ["compare", "absent"],
    ["verify", "absent"],
    ["screen", "absent.yaml"],
]
_RUN = """
import json, sys
from poolwise.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["poolwise", *words]
    try:
        main()
    except SystemExit as end:
        print(words[0], end.code, "torch" in sys.modules)
"""


def test_no_command_imports_torch_to_say_that_something_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RUN, json.dumps(COMMANDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines() == [f"{words[0]} 2 False" for words in COMMANDS], done.stderr
    lines = done.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == len(COMMANDS)
    assert done.stderr.count("absent") >= len(COMMANDS)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
