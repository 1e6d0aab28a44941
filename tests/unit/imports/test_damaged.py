"""Settings of published models that hold values of other types than their libraries write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from poolwise.errors import ModelError
from poolwise.imports.adapters import read_lora
from poolwise.imports.llm2vec import read_llm2vec

LORA = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "init_lora_weights": True}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rank_pattern", ["q_proj"], r"rank_pattern in .* is \['q_proj'\]; wanted ranks by module"),
        ("monteclora_config", {"x": 1}, r"cannot read .*adapter_config\.json: .*; wanted what PEFT saves"),
        ("alora_invocation_tokens", [1], "has alora_invocation_tokens; wanted LoRA that acts on every token"),
    ],
)
def test_an_adapter(key: str, value: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(LORA | {key: value}))
    with pytest.raises(ModelError, match=message):
        read_lora(tmp_path)


def test_settings_of_llm2vec(tmp_path: Path) -> None:
    (tmp_path / "llm2vec_config.json").write_text(json.dumps({"max_length": "long"}))
    with pytest.raises(ModelError, match=r"max_length in llm2vec_config\.json is 'long'; wanted int"):
        read_llm2vec([tmp_path])
