"""The design: what it refuses, that any change changes its hash, and that it is written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ab_folder import CLICKED, LATENCY, design
from poolwise.errors import ConfigError
from poolwise.experiments import load_design, save_design


def test_a_design_is_written_with_all_keys_and_read_back(tmp_path: Path) -> None:
    made = design(metrics=[CLICKED, LATENCY])
    path = save_design(made, tmp_path)
    assert load_design(path) == made
    assert load_design(path).fingerprint == made.fingerprint
    with pytest.raises(ConfigError, match="has a design already"):
        save_design(made, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 0.04},
        {"arms": [{"name": "A", "share": 50}, {"name": "B", "share": 51}]},
        {"metrics": [CLICKED | {"margin": 0.11}]},
        {"salt": "f" * 32},
    ],
)
def test_any_change_changes_the_hash(changes: dict[str, Any]) -> None:
    assert design(**changes).fingerprint != design().fingerprint


def test_a_design_without_a_salt_gets_one_of_its_own() -> None:
    tree = design().model_dump(exclude={"salt"})
    assert type(design()).model_validate(tree).salt != type(design()).model_validate(tree).salt


def test_alpha_is_divided_among_metrics_and_arms() -> None:
    arms = [{"name": name, "share": 1} for name in "ABC"]
    assert design(metrics=[CLICKED, LATENCY], arms=arms).alpha_each == pytest.approx(0.05 / 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"name": "A", "share": 1}]}, "arms"),
        ({"arms": [{"name": "A", "share": 1}, {"name": "A", "share": 1}]}, "two arms are named 'A'"),
        ({"arms": [{"name": "A", "share": 0}, {"name": "B", "share": 1}]}, "share"),
        ({"metrics": [LATENCY]}, "all metrics are guards"),
        ({"metrics": [CLICKED, CLICKED]}, "two metrics are named 'clicked'"),
        ({"metrics": [{k: v for k, v in CLICKED.items() if k != "expected"}]}, "binary needs `expected`"),
        ({"metrics": [CLICKED | {"expected": 1.0}]}, "expected 1 is not between 0 and 1"),
        ({"metrics": [CLICKED | {"margin": 1.0}]}, "margin 1 is no smaller than the range"),
        ({"metrics": [CLICKED | {"kind": "mean"}]}, "`expected` is for binary and bounded"),
        ({"metrics": [CLICKED | {"low": -1.0}]}, "`low`, `high` and `absent` are for bounded"),
        ({"metrics": [CLICKED, LATENCY | {"harm": 1.0}]}, "the limit of a guard is its `margin`"),
        ({"metrics": [CLICKED, LATENCY | {"kind": "binary", "expected": 0.5}]}, "latency can be mean or ratio"),
        ({"window_hours": None}, "a user's value must be fixed"),
        ({"metric": []}, "unknown key 'metric'; did you mean 'metrics'"),
        ({"metrics": [CLICKED | {"margn": 1}]}, "did you mean 'margin'"),
        (
            {"metrics": [CLICKED, {"name": "p", "kind": "preference", "event": "click", "margin": 0.1}]},
            "'p' is a preference, and there are others",
        ),
        ({"metrics": [{"name": "p", "kind": "preference", "event": "rating", "margin": 0.1}]}, "counts clicks"),
    ],
)
def test_a_wrong_design_is_refused_in_one_message(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    import yaml

    tree = design().model_dump(mode="json") | {"metrics": [CLICKED]} | changes
    (tmp_path / "design.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=message):
        load_design(tmp_path / "design.yaml")
