"""Every block of the page "use your winner" runs, those of frameworks in ``tests/interop``."""

from __future__ import annotations

import pytest

from command_line import poolwise
from toy_exports import moved_model
from winner_page import FRAMEWORKS, blocks, run_python

OWN = [block for block in blocks() if not block.framework]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``runs/winner``, in which the page's commands were run in order."""
    folder = tmp_path_factory.mktemp("page")
    moved_model("mean+bidirectional", "poolwise/nano", max_tokens=64).save(str(folder / "runs" / "winner"))
    for block in OWN:
        for arguments in block.commands:
            poolwise(*arguments, cwd=folder)
    return folder


def test_the_page_has_a_block_for_each_framework() -> None:
    assert [block.framework for block in blocks() if block.framework] == list(FRAMEWORKS)
    assert all(block.commands for block in OWN if block.language == "console")


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in OWN if block.language == "python"])
def test_its_python_prints_what_it_says(place, block) -> None:
    without = ["import sys; sys.modules['poolwise'] = None"] if "poolwise" not in block.code else []
    assert block.promised
    assert run_python(block.code, place, *without) == block.promised


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my-model", "my-merged-model"])
def test_the_readme_of_each_export_runs_without_poolwise(place, name) -> None:
    text = (place / name / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    shape = run_python(code, place / name, "import sys; sys.modules['poolwise'] = None")
    assert shape in ("(2, 256)", "torch.Size([2, 256])")
