"""What tests share: where the reference data lies, and why a test is skipped without it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

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


def load_script(name: str) -> ModuleType:
    """Return a module of scripts/, loaded once."""
    return _load("scripts", name)


def load_example(name: str) -> ModuleType:
    """Return a module of examples/, loaded once."""
    return _load("examples", name)


def load_benchmark(name: str) -> ModuleType:
    """Return a module of benchmarks/, loaded once."""
    return _load("benchmarks", name)


def _load(folder_name: str, name: str) -> ModuleType:
    folder, key = ROOT / folder_name, f"{folder_name}_{name}"
    if key not in sys.modules:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        spec = importlib.util.spec_from_file_location(key, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[key] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[key]
