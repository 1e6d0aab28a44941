"""What a study refuses before its first job."""

from pathlib import Path
from typing import Any

import pytest

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.errors import ConfigError
from poolwise.study import limits
from poolwise.study.inputs import load_inputs
from tiny_models import POSITIONS, save_tiny_base


def test_designs_are_held_against_the_layers_of_the_base_and_all_problems_told_at_once(tmp_path) -> None:
    recipe = build_recipe(
        {
            "name": "toy",
            "base": "poolwise/nano",  # 12 layers
            "designs": ["mean+bidirectional(top=12)", "mean+bidirectional(top=13)", "layer_mean(layers=7-20)+causal"],
            "reference": "mean+bidirectional(top=12)",
            "data": {"train": [str(toys.write_training(tmp_path / "train.jsonl"))]},
            "tasks": [str(toys.write_suite(tmp_path / "suite") / "sts")],
        }
    )
    with pytest.raises(ConfigError) as caught:
        load_inputs(recipe)
    text = str(caught.value)
    for part in ("(top=13): top=13 on a base of 12", "layers=7-20 on a base of 12"):
        assert part in text
    assert "design mean+bidirectional(top=12)" not in text


def test_what_is_not_there_is_told_at_once_before_the_base_is_read(tmp_path: Path) -> None:
    tree = {"name": "toy", "base": str(tmp_path / "no-base"), "designs": ["mean+bidirectional(top=13)"]}
    tree |= {"reference": "mean+bidirectional(top=13)", "data": {"train": [str(tmp_path / "missing.jsonl")]}}
    with pytest.raises(ConfigError) as caught:
        load_inputs(build_recipe(tree | {"tasks": [str(tmp_path / "missing")]}))
    for part in ("no-base", "missing.jsonl", "wanted a folder"):
        assert part in str(caught.value)
    assert "top=13" not in str(caught.value)


def tiny_recipe(folder: Path, family: str, settings: dict[str, Any], **changes: Any) -> Recipe:
    tree = {
        "name": "toy",
        "base": save_tiny_base(folder / "base", family, **settings),
        "designs": ["mean+causal"],
        "reference": "mean+causal",
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {"steps": 1, "batch_size": 4, "max_tokens": POSITIONS},
        "eval": {"max_tokens": POSITIONS},
        "tasks": [str(toys.write_suite(folder / "suite") / "sts")],
    }
    return build_recipe(tree | changes)


def test_lengths_beyond_the_positions_are_told_together_and_up_to_them_allowed(tmp_path: Path) -> None:
    load_inputs(tiny_recipe(tmp_path, "llama", {}, adapt={"max_tokens": POSITIONS}))
    longer: Any = {"max_tokens": POSITIONS + 1}
    train = {"steps": 1, "batch_size": 4} | longer
    with pytest.raises(ConfigError) as caught:
        load_inputs(tiny_recipe(tmp_path, "llama", {}, train=train, eval=longer, adapt=longer))
    for key in ("train", "eval", "adapt"):
        assert f"{key}.max_tokens is 65; wanted at most 64, the positions of base" in str(caught.value)


def test_under_a_partial_attention_texts_must_fit_the_sliding_window(tmp_path: Path) -> None:
    window = {"sliding_window": 32}
    load_inputs(tiny_recipe(tmp_path, "mistral", window))
    partial = {"designs": ["mean+causal", "mean+bidirectional(top=1)"]}
    with pytest.raises(ConfigError, match=r"train\.max_tokens is 64; wanted at most 32, the sliding window .*top=1"):
        load_inputs(tiny_recipe(tmp_path, "mistral", window, **partial))
    load_inputs(tiny_recipe(tmp_path, "mistral", {"sliding_window": None}, **partial))


def test_what_the_base_reads_beside_the_text_must_fit_too(tmp_path: Path) -> None:
    echo: Any = {"designs": ["mean+causal", "mean(echo=true)+causal"], "eval": {"max_tokens": 32}}
    train = {"steps": 1, "batch_size": 4}
    load_inputs(tiny_recipe(tmp_path, "llama", {}, **echo, train=train | {"max_tokens": 32}))
    soft: Any = {"designs": ["mean+causal", "soft_tokens(count=3)+causal"], "eval": {"max_tokens": 61}}
    load_inputs(tiny_recipe(tmp_path, "llama", {}, **soft, train=train | {"max_tokens": 61}))
    with pytest.raises(ConfigError, match=r"train\.max_tokens is 62; wanted at most 61, because soft_tokens"):
        load_inputs(tiny_recipe(tmp_path, "llama", {}, **soft, train=train | {"max_tokens": 62}))
    marked: Any = {"designs": ["mean+causal", "landmark(every=4)+causal"], "eval": {"max_tokens": 52}}
    load_inputs(tiny_recipe(tmp_path, "llama", {}, **marked, train=train | {"max_tokens": 52}))
    with pytest.raises(ConfigError, match=r"train\.max_tokens is 53; wanted at most 52, because landmark\(every=4\)"):
        load_inputs(tiny_recipe(tmp_path, "llama", {}, **marked, train=train | {"max_tokens": 53}))
    message = r"train\.max_tokens is 33; wanted at most 32, because mean\(echo=true\)\+causal reads more than the text"
    with pytest.raises(ConfigError, match=message):
        load_inputs(tiny_recipe(tmp_path, "llama", {}, **echo, train=train | {"max_tokens": 33}))
    echo["designs"][1] = "mean(echo=true)+bidirectional(top=1)"
    with pytest.raises(ConfigError, match=r"wanted at most 16, because .*top=1\) reads .* is 32;"):
        load_inputs(tiny_recipe(tmp_path, "mistral", {"sliding_window": 32}, **echo, train=train | {"max_tokens": 17}))


def test_nested_dimensions_must_fit_the_narrowest_design(tmp_path: Path) -> None:
    train = {"steps": 1, "batch_size": 4, "max_tokens": 24, "matryoshka": [16]}
    load_inputs(tiny_recipe(tmp_path, "llama", {}, train=train))
    narrow = {"designs": ["mean+causal", "mean(dim=12)+causal"]}
    with pytest.raises(ConfigError, match=r"train\.matryoshka has 16; wanted at most 12, the width .* of .*dim=12"):
        load_inputs(tiny_recipe(tmp_path, "llama", {}, train=train, **narrow))


def test_attention_on_the_prompt_needs_an_architecture_that_takes_masks(tmp_path: Path) -> None:
    partial = {"designs": ["mean+causal", "mean+bidirectional(on=prompt)"]}
    load_inputs(tiny_recipe(tmp_path, "llama", {}, **partial))
    with pytest.raises(ConfigError, match=r"on=prompt.*bloom computes its positions"):
        load_inputs(tiny_recipe(tmp_path / "bloom", "bloom", {}, **partial))


def test_prompts_must_not_spell_special_tokens_unless_these_act(tmp_path: Path) -> None:
    prompts = {"prompts": {"retrieval": {"query": "find <eos> "}}}
    with pytest.raises(ConfigError, match="the prompt 'find <eos> ' spells the special token <eos>"):
        load_inputs(tiny_recipe(tmp_path, "llama", {}, **prompts))
    load_inputs(tiny_recipe(tmp_path, "llama", {}, **prompts, split_special_tokens=False))


def refusing(*_: object, **__: object) -> None:
    raise RuntimeError("Current CUDA Device does not support bfloat16. Please switch dtype to float16.")


def test_bf16_is_refused_where_the_device_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.has_bf16("cpu")
    monkeypatch.setattr("torch.autocast", refusing)
    assert not limits.has_bf16("cpu")  # as torch says it of a GPU without
    monkeypatch.undo()
    train = {"steps": 1, "batch_size": 4, "max_tokens": 24, "precision": "bf16"}
    load_inputs(tiny_recipe(tmp_path, "llama", {}, train=train))
    monkeypatch.setattr(limits, "has_bf16", lambda device: False)
    with pytest.raises(ConfigError, match=r"train\.precision: bf16; \w+ cannot compute in bf16"):
        load_inputs(tiny_recipe(tmp_path, "llama", {}, train=train))
    load_inputs(tiny_recipe(tmp_path, "llama", {}))
