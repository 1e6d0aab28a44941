"""Adaptation of a base: recorded, resumed and stopped like any training, and saved as an ordinary base."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from poolwise.config import Adapt
from poolwise.errors import ConfigError, ModelError
from poolwise.models import build_model
from poolwise.records import load_adaptation, load_steps
from poolwise.training import train_adaptation
from tiny_models import TEXTS, save_tiny_base
from toy_adaptation import toy_adapt, toy_adaptable, toy_adapted, toy_record
from toy_training import StopError, stop_at, weights


@pytest.fixture(scope="module")
def headed(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base") / "llama", "llama", with_head=True)


@pytest.fixture(scope="module")
def whole(headed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    adaptable, cost = toy_adapted(headed, folder)
    return weights(adaptable.model), load_steps(folder / "training.jsonl"), cost


def test_steps_and_cost_are_recorded(whole):
    _, steps, cost = whole
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert all(step.tokens > 0 and step.negatives == 0 and step.head_learning_rate is None for step in steps)
    assert cost.train_seconds > 0 and cost.train_tokens_per_second > 0 and cost.train_peak_memory_gib > 0


def test_a_stopped_adaptation_goes_on_to_the_same_weights(headed, whole, tmp_path):
    expected, steps, _ = whole
    with pytest.raises(StopError):
        toy_adapted(headed, tmp_path, on_step=stop_at(3))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-2"]
    seen = []
    adaptable, _ = toy_adapted(headed, tmp_path, on_step=lambda step: seen.append(step.step))
    assert seen == [3, 4]
    found = weights(adaptable.model)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert [step.loss for step in load_steps(tmp_path / "training.jsonl")] == [step.loss for step in steps]


def test_a_checkpoint_of_another_adaptation_is_refused(headed, tmp_path):
    with pytest.raises(StopError):
        toy_adapted(headed, tmp_path, on_step=stop_at(3))
    with pytest.raises(ConfigError, match="checkpoint-2 is a checkpoint of run k; this is run other"):
        toy_adapted(headed, tmp_path, key="other")


def test_a_step_that_runs_out_of_memory_goes_on_with_fewer_rows_at_a_time(headed, whole, tmp_path, caplog):
    _, steps, _ = whole
    rows = []

    def small_device(module, inputs):
        rows.append(len(inputs[0]["attention_mask"]))
        if rows[-1] > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    adaptable, config = toy_adaptable(headed, toy_adapt())
    adaptable.model[0].register_forward_pre_hook(small_device)
    train_adaptation(adaptable, TEXTS, toy_adapt(), config, out=tmp_path, key="k")
    assert rows[0] == 3 and set(rows[1:]) == {1}
    assert "out of memory in step 1 with 3 rows at a time: mini-batches of 1 from here on" in caplog.text
    found = load_steps(tmp_path / "training.jsonl")
    assert [step.loss for step in found] == pytest.approx([step.loss for step in steps], rel=1e-5)
    assert [step.grad_norm for step in found] == pytest.approx([step.grad_norm for step in steps], rel=1e-4)


CHANGES = {
    "steps": 1,
    "batch_size": 2,
    "learning_rate": 2e-2,
    "mask_share": 0.6,
    "mask_token": "two",
    "max_tokens": 6,
    "lora_rank": 4,
    "lora_alpha": 8,
    "seed": 1,
}


@pytest.fixture(scope="module")
def short(headed, tmp_path_factory):
    adaptable, _ = toy_adapted(headed, tmp_path_factory.mktemp("short"), toy_adapt(steps=2))
    return weights(adaptable.model)


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_setting_changes_the_weights(name, headed, short, tmp_path):
    adaptable, _ = toy_adapted(headed, tmp_path, toy_adapt(**{"steps": 2, name: CHANGES[name]}))
    found = weights(adaptable.model)
    trained = [key for key in short if "lora_" in key]
    assert any(found[key].shape != short[key].shape or not torch.equal(found[key], short[key]) for key in trained)


def test_no_setting_is_forgotten_here():
    # ``data`` chooses the texts before training: tests/unit/study/test_adapt.py.
    assert CHANGES.keys() | {"data"} == Adapt.model_fields.keys()


def test_a_nan_stops_and_names_step_texts_and_remedy(headed, tmp_path):
    adapt = toy_adapt(learning_rate=1e38)
    with pytest.raises(ModelError) as caught:
        toy_adapted(headed, tmp_path, adapt, max_grad_norm=1e38)
    message = str(caught.value)
    assert " is nan at step 2 of 4, batch of 3 texts, the first '" in message
    assert "lower adapt.learning_rate (1e+38)" in message


def test_the_start_is_not_that_of_a_design_with_the_same_seed(headed):
    adaptable, _ = toy_adaptable(headed, toy_adapt())
    ours = {name: w for name, w in weights(adaptable.model).items() if "lora_A" in name}
    design = weights(build_model("mean+bidirectional", headed, seed=0, max_tokens=16))
    assert ours and not any(torch.equal(value, design[name]) for name, value in ours.items())


@pytest.mark.parametrize(("family", "method"), [("llama", "lora"), ("llama", "full"), ("gpt2", "full")])
def test_the_saved_base_is_the_trained_one_and_a_base_like_any_other(family, method, tmp_path):
    plain = save_tiny_base(tmp_path / "plain", family, with_head=True)
    adaptable, _ = toy_adapted(plain, tmp_path / "out", method=method)
    trained = build_states(adaptable.model)
    adaptable.save(tmp_path / "out" / "base", toy_record())
    folder = tmp_path / "out" / "base"
    again = build_model("mean+bidirectional", str(folder), method="frozen", max_tokens=16, precision="fp32")
    torch.testing.assert_close(build_states(again), trained, atol=1e-5, rtol=0)
    configs = [AutoConfig.from_pretrained(place).to_dict() for place in (plain, folder)]
    for config in configs:
        config.pop("_name_or_path", None)
    assert configs[0] == configs[1]
    assert load_adaptation(str(folder)) == toy_record() and load_adaptation(plain) is None
    before, after = (AutoModelForCausalLM.from_pretrained(place) for place in (plain, folder))
    is_tied = family == "gpt2"
    head, embedding = after.get_output_embeddings().weight, after.get_input_embeddings().weight
    assert (head is embedding) == is_tied
    assert torch.equal(head, before.get_output_embeddings().weight) == (method == "lora")


def build_states(model):
    model.eval()
    features = model[0].preprocess(list(TEXTS))
    with torch.no_grad():
        return model[0](features)["token_embeddings"][features["attention_mask"].bool()]


def test_a_base_without_lm_head_is_refused(base):
    with pytest.raises(
        ModelError, match=r"has no LM head \(lm_head\.weight\).*AutoModelForCausalLM.*leave `adapt` out"
    ):
        toy_adaptable(base, toy_adapt())


@pytest.mark.parametrize("token", [None, "two words", "unheard-of"])
def test_a_mask_token_must_be_one_token(token, headed):
    # The tiny tokenizer knows words, and neither a mask token nor "_".
    with pytest.raises(ModelError, match=r"is not one token of .*adapt\.mask_token"):
        toy_adaptable(headed, toy_adapt(mask_token=token))


def test_a_tokenizers_own_mask_token_comes_first(headed, tmp_path):
    path = save_tiny_base(tmp_path / "b", "llama", with_head=True)
    place = tmp_path / "b" / "tokenizer_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"mask_token": "one"}))
    adaptable, _ = toy_adaptable(path, toy_adapt(mask_token=None))
    assert adaptable.mask_token == "one"
    assert adaptable.mask_id == adaptable.tokenizer.convert_tokens_to_ids("one")
