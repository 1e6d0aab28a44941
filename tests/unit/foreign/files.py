"""Small files as other tools write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_v2(
    folder: Path, task: str, score: object, *, split: str = "test", subset: str = "default", **more: Any
) -> Path:
    """Write one result of today's layout; ``more`` goes to the top of the file, ``metrics`` into the row."""
    languages = more.pop("languages", ["eng-Latn"])
    row = {"hf_subset": subset, "languages": languages, "main_score": score, **more.pop("metrics", {})}
    data = {"dataset_revision": "d1", "task_name": task, "mteb_version": "1.18.0", "scores": {split: [row]}, **more}
    return write_json(folder / f"{task}.json", data)


def write_v1(folder: Path, task: str, splits: Mapping[str, object], version: str = "1.0.2") -> Path:
    """Write one result of the layout before mteb 1.11."""
    head = {"dataset_revision": "d1", "mteb_dataset_name": task, "mteb_version": version}
    return write_json(folder / f"{task}.json", {**head, **splits})


def write_json(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def write_text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
