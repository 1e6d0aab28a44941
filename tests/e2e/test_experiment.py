"""``poolwise experiment`` in a process of its own: design, import, state, report, and errors on one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from ab_folder import CLICKED
from command_line import poolwise


def write_traffic(path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["customer,variant,when,click"]
    for number in range(1200):
        arm = "AB"[int(rng.integers(2))]
        click = int(rng.random() < {"A": 0.3, "B": 0.5}[arm])
        lines.append(f"c{number},{arm},{1_700_000_000 + 600 * number},{click}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    arms = [{"name": "A", "share": 1}, {"name": "B", "share": 1}]
    (folder / "ab.yaml").write_text(yaml.safe_dump({"name": "toy", "arms": arms, "metrics": [CLICKED], "min_days": 2}))
    write_traffic(folder / "traffic.csv")
    return folder


def test_from_a_design_to_a_verdict(place: Path) -> None:
    begun = poolwise("experiment", "runs/ab", "--design", "ab.yaml", cwd=place)
    assert "no exposures yet" in begun.stdout and "do not change it" in begun.stderr
    columns = "user=customer,arm=variant,time=when"
    done = poolwise(
        *("experiment", "runs/ab", "--import", "traffic.csv", "--columns", columns, "--report", "ab.html"), cwd=place
    )
    assert "1,200 rows added" in done.stderr and "report: ab.html" in done.stderr
    assert done.stdout.strip().endswith("B is better than A, and no guard metric is worse: use B.")
    assert (place / "ab.html").stat().st_size > 20_000
    found = json.loads(poolwise("experiment", "runs/ab", "--json", cwd=place).stdout)
    assert found["arms"][1]["decision"] == "superior"
    assert found["metrics"][0]["now"]["interval"][0] > 0


def test_errors_are_one_line(place: Path) -> None:
    for arguments, message in (
        (["nowhere"], "is no experiment: it has no design.yaml; poolwise experiment nowhere --design FILE makes one"),
        (["x", "--columns", "user=a"], "--columns without --import"),
        (["y", "--design", "traffic.csv"], "design traffic.csv"),
    ):
        failed = poolwise("experiment", *arguments, cwd=place, code=2)
        assert failed.stderr.count("\n") <= 2 and message in failed.stderr
