"""Every block of the page on experiments runs, in order; the server is started on a free port."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_models
from docs_pages import Reader, blocks_of
from poolwise.models import build_model
from support import ROOT

BLOCKS = blocks_of((ROOT / "docs" / "how-to" / "experiments.md").read_text())
pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'poolwise[serve]'")


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    base = tiny_models.save_tiny_base(tmp_path / "base", "llama")
    for name, design in (("a", "last+causal"), ("b", "mean+bidirectional")):
        model = build_model(design, base, max_tokens=16, precision="fp32", prompts={"query": "q : ", "document": ""})
        model.save(str(tmp_path / "runs" / name))
    with Reader(tmp_path, seconds=300) as reader:
        for block in BLOCKS:
            reader.run(block)
        reader.stop_serving()
    assert [block.language for block in BLOCKS] == [
        "yaml", "console", "console", "python", "python", "console", "console", "text"
    ]  # fmt: skip
    assert (tmp_path / "elsewhere.html").is_file()
