"""What a study refuses before its first job."""

import pytest

from poolwise.config import build_recipe
from poolwise.errors import ConfigError
from poolwise.study.inputs import load_inputs


def test_designs_are_held_against_the_layers_of_the_base_and_all_problems_told_at_once(tmp_path) -> None:
    recipe = build_recipe(
        {
            "name": "toy",
            "base": "poolwise/nano",  # 12 layers
            "designs": ["mean+bidirectional(top=12)", "mean+bidirectional(top=13)", "layer_mean(layers=7-20)+causal"],
            "reference": "mean+bidirectional(top=12)",
            "data": {"train": [str(tmp_path / "missing.jsonl")]},
            "tasks": [str(tmp_path / "missing")],
        }
    )
    with pytest.raises(ConfigError) as caught:
        load_inputs(recipe)
    text = str(caught.value)
    for part in ("(top=13): top=13 on a base of 12", "layers=7-20 on a base of 12", "missing.jsonl", "wanted a folder"):
        assert part in text
    assert "design mean+bidirectional(top=12)" not in text
