"""A small experiment in a folder, with users that arrive evenly and outcomes that are drawn with a fixed seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from poolwise.experiments import Design, Feedback, open_log, save_design

DAY = 86400.0
START = 1_700_000_000.0
CLICKED = {"name": "clicked", "kind": "binary", "event": "click", "expected": 0.3, "margin": 0.1}
LATENCY = {"name": "latency", "kind": "ratio", "event": "latency", "direction": "down", "role": "guard", "margin": 30.0}


def design(**changes: Any) -> Design:
    """A design of two arms with one primary metric, without a minimum of days."""
    tree: dict[str, Any] = {
        "name": "toy",
        "arms": [{"name": "A", "share": 50}, {"name": "B", "share": 50}],
        "metrics": [CLICKED],
        "min_users": 50,
        "min_days": 0,
        "salt": "0123456789abcdef" * 2,
    }
    return Design.model_validate(tree | changes)


def begun(folder: Path, found: Design | None = None) -> Path:
    """Return a new folder with a design."""
    folder.mkdir()
    save_design(found or design(), folder)
    return folder


def run_traffic(folder: Path, rates: dict[str, float], users: int = 1500, days: float = 10.0, seed: int = 0) -> None:
    """Write users over some days; each sees an arm once or more, and clicks with its arm's rate."""
    rng = np.random.default_rng(seed)
    with open_log(folder) as log:
        for number in range(users):
            key = f"user-{number}"
            arm = log.assign(key).name
            time = START + days * DAY * number / users
            exposure, _ = log.expose(key, arm, id=f"e{number}", time=time, latency=float(rng.lognormal(4, 0.3)))
            if rng.random() < rates[arm]:
                log.feedback(Feedback(f"f{number}", exposure.id, "click", 1.0), time + 60)
