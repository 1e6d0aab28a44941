"""A folder that is written anew: new, empty, or refused before anything is written."""

from pathlib import Path

import pytest

from poolwise.errors import ConfigError
from poolwise.storage.new_folders import require_new_folder


def test_a_new_or_empty_folder_passes_and_what_a_kill_left_is_nothing(tmp_path: Path) -> None:
    require_new_folder(tmp_path / "new")
    (tmp_path / ".lock").write_text("process 1")
    (tmp_path / "study.json.partial").write_text("{")
    (tmp_path / "screen").mkdir()
    require_new_folder(tmp_path, "study", but=["screen"])
    with pytest.raises(ConfigError, match="is not empty and holds no study; give a new or empty folder"):
        require_new_folder(tmp_path, "study")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match=r"out is a file; wanted a folder"):
        require_new_folder(tmp_path / "out")
