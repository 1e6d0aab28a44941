"""The executor of a study on a Ray cluster, and what a node must have in common with the driver that made the plan."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from poolwise.config import Recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Executor
from poolwise.jobs.processes import OpenRun
from poolwise.jobs.ray_cluster import Cluster, Share
from poolwise.jobs.ray_jobs import OnRay
from poolwise.study.inputs import held_dtype


def ray_executor(recipe: Recipe, opened: OpenRun, out: Path, cluster: Cluster, share: Share) -> Executor:
    """Return the executor that runs a study's jobs on a cluster."""
    return OnRay(opened, out, cluster, share, partial(require_same_numbers, recipe, numbers_of(recipe)))


def numbers_of(recipe: Recipe) -> dict[str, str]:
    """Return what this machine makes of the recipe's keys that a machine decides: the dtype of the base, and each
    precision that is ``auto``.
    """
    import torch

    from poolwise.kernels.precision import uses_bf16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    automatic = {key: value for key, value in recipe.precisions.items() if value == "auto"}
    chosen = {key: "bf16" if uses_bf16(value, device) else "fp32" for key, value in automatic.items()}
    return {"base_dtype": str(held_dtype(recipe))} | chosen


def require_same_numbers(recipe: Recipe, planned: dict[str, str]) -> None:
    """Raise ConfigError where this machine would compute in other numbers than the plan was made for."""
    found = numbers_of(recipe)
    if differing := [key for key in found if found[key] != planned[key]]:
        raise ConfigError(
            "; ".join(f"{key} is {found[key]}, on the driver {planned[key]}" for key in differing),
            "wanted equal numbers from all nodes and the driver",
            f"set {' and '.join(differing)} in the recipe",
        )
