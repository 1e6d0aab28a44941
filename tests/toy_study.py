"""A finished study that takes seconds: an adapted base, two designs, one baseline."""

from __future__ import annotations

from pathlib import Path

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.study.study import run_study
from tiny_models import save_tiny_base


def toy_recipe(folder: Path) -> Recipe:
    """Return its recipe, with a base, training pairs and a task in ``folder``."""
    return build_recipe(
        {
            "name": "toy",
            "base": save_tiny_base(folder / "base", "gpt2"),
            "designs": ["mean+causal", "last+bidirectional"],
            "reference": "mean+causal",
            "seeds": [0],
            "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
            "train": {"steps": 3, "batch_size": 4, "max_tokens": 24, "precision": "fp32", "learning_rate": 1e-3},
            "adapt": {"steps": 2, "batch_size": 2, "max_tokens": 24},
            "eval": {"max_tokens": 24, "precision": "fp32"},
            "tasks": [str(toys.write_suite(folder / "suite") / "sts")],
            "anchors": ["random"],
        }
    )


def make_study(folder: Path) -> Path:
    """Run the study in ``folder/out`` and return that."""
    run_study(toy_recipe(folder), folder / "out", workers=1)
    return folder / "out"
