"""What tests share: where the reference data lies, and why a test is skipped without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path | None:
    """Return the folder with data that is not part of the repository, or None."""
    places = [os.environ.get("POOLWISE_SHARED"), ROOT.parent / "shared"]
    return next((Path(place) for place in places if place and (Path(place) / "data").is_dir()), None)


def shared_data(part: str = "") -> Path:
    """Return a path below the shared data folder; skip the test, with the reason, where it is absent."""
    folder = shared_folder()
    if folder is None or not (folder / "data" / part).exists():
        pytest.skip(f"needs shared data {part or '(any)'}: set POOLWISE_SHARED to the folder that holds data/")
    return folder / "data" / part
