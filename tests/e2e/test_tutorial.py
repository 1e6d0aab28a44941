"""The tutorial runs from its first block to its last: from nothing to a served winner that users chose."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from docs_pages import Reader, blocks_of
from poolwise.config import load_recipe
from poolwise.experiments import load_design
from support import ROOT

BLOCKS = blocks_of((ROOT / "docs" / "tutorial.md").read_text())
MOST_SECONDS = 20 * 60
"""What the page promises, on two cores that do nothing else."""


def test_it_goes_from_a_study_to_a_served_winner() -> None:
    lines = [line for block in BLOCKS for line in block.text.splitlines()]
    commands = [line.split()[2] for line in lines if line.startswith("$ poolwise")]
    wanted = ["study", "doctor", "export", "encode", "index", "search", "experiment", "serve"]
    assert list(dict.fromkeys(commands)) == wanted
    assert commands[-1] == "serve"


def test_its_files_are_read(tmp_path: Path) -> None:
    for block in BLOCKS:
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    assert len(load_recipe(tmp_path / "first.yaml").designs) == 3
    design = load_design(tmp_path / "ab.yaml")
    assert [metric.kind for metric in design.metrics] == ["preference"]
    assert [arm["model"] for arm in yaml.safe_load((tmp_path / "ab.yaml").read_text())["arms"]] == ["runs/a", "runs/b"]


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'poolwise[serve]'")
    start = time.monotonic()
    with Reader(tmp_path, seconds=2 * MOST_SECONDS) as reader:
        for block in BLOCKS:
            reader.run(block)
            print(f"{time.monotonic() - start:6.0f} s: {block.text.splitlines()[0]}")
        reader.stop_serving()
    assert (tmp_path / "ab.html").is_file() and (tmp_path / "runs" / "first" / "report.html").is_file()
