"""What a training writes, what it does not change, and its errors."""

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from poolwise.data import build_schedule
from poolwise.errors import ConfigError, DataError, ModelError, is_out_of_memory
from poolwise.records import load_steps
from poolwise.training.measure import PeakMemory
from toy_training import toy_config, toy_model, toy_train, toy_triples, weights


def test_the_loss_goes_down_and_every_step_is_recorded(base, tmp_path, capfd):
    config = toy_config(steps=30, learning_rate=5e-3)
    model, seen = toy_model("layer_mix+bidirectional", base, config), []
    cost = toy_train(model, config, tmp_path, on_step=seen.append)
    steps = load_steps(tmp_path / "training.jsonl")
    assert steps == seen
    assert [step.step for step in steps] == list(range(1, 31))
    first, last = (sum(step.loss for step in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.5 * first
    assert {step.negatives for step in steps} == {7}
    assert steps[3].learning_rate == pytest.approx(5e-3) and steps[3].head_learning_rate == pytest.approx(1e-3)
    assert all(step.grad_norm > 0 and step.tokens > 40 for step in steps)
    assert cost.train_seconds == pytest.approx(sum(step.seconds for step in steps))
    assert cost.train_tokens_per_second * cost.train_seconds == pytest.approx(sum(step.tokens for step in steps))
    assert cost.train_peak_memory_gib > 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["training.jsonl"]
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("pooling", ["layer_mix", "pma", "mean(dim=8)", "soft_tokens(count=2)"])
def test_only_trainable_weights_move(pooling, base, tmp_path):
    config = toy_config(method="frozen", steps=2)
    model = toy_model(f"{pooling}+causal", base, config)
    before = weights(model)
    toy_train(model, config, tmp_path)
    moved = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("1.") for name in moved)


@pytest.mark.parametrize(("design", "changes"), [("mean+causal", {"method": "frozen"}), ("mean+causal", {"steps": 0})])
def test_nothing_to_train_is_said_and_costs_nothing(base, tmp_path, caplog, design, changes):
    caplog.set_level("INFO", logger="poolwise")
    config = toy_config(**changes)
    model = toy_model(design, base, config)
    before = weights(model)
    cost = toy_train(model, config, tmp_path)
    assert (cost.train_seconds, cost.train_tokens_per_second, cost.train_peak_memory_gib) == (0, 0, 0)
    assert "mean+causal: not trained" in caplog.text
    assert load_steps(tmp_path / "training.jsonl") == []
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_a_longer_schedule_is_used_from_its_start(base, tmp_path):
    triples, config = toy_triples(), toy_config(steps=2)
    model = toy_model("mean+causal", base, config)
    schedule = build_schedule(triples, steps=5, batch_size=4, seed=0)
    toy_train(model, config, tmp_path, triples=triples, schedule=schedule)
    assert len(load_steps(tmp_path / "training.jsonl")) == 2


def test_a_schedule_that_does_not_fit_is_refused(base, tmp_path):
    triples, config = toy_triples(), toy_config(steps=3)
    model = toy_model("mean+causal", base, config)
    schedule = build_schedule(triples, steps=2, batch_size=4, seed=0)
    with pytest.raises(ConfigError, match=r"2 steps.*wanted at least 3, as train\.steps says"):
        toy_train(model, config, tmp_path, triples=triples, schedule=schedule)
    with pytest.raises(DataError, match="other data"):
        toy_train(model, toy_config(steps=2), tmp_path, triples=triples[::-1], schedule=schedule)


def test_a_nan_loss_stops_and_names_step_rows_and_remedy(base, tmp_path):
    config = toy_config()
    model = toy_model("mean+causal", base, config)
    before = {}

    def poison(step):
        if step.step == 3:
            before.update(weights(model))
            model[1].register_forward_hook(lambda module, inputs, output: output | {"sentence_embedding": nan(output)})

    def nan(output):
        return output["sentence_embedding"] * float("nan")

    with pytest.raises(ModelError) as caught:
        toy_train(model, config, tmp_path, on_step=poison)
    message = str(caught.value)
    triples = toy_triples()
    batch = build_schedule(triples, steps=6, batch_size=4, seed=0).batches[3]
    assert "loss is nan at step 4 of 6" in message
    assert f"batch of 4 rows of toy.jsonl: {', '.join(str(triples[row].row) for row in batch)}" in message
    assert "lower train.learning_rate" in message and "precision: fp32" in message
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-2"]


def test_an_infinite_gradient_stops_before_the_weights_change(base, tmp_path):
    config = toy_config()
    model = toy_model("layer_mix+causal", base, config)
    before = weights(model)
    next(model[1].parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ModelError, match=r"gradient norm is (inf|nan) at step 1 of 6"):
        toy_train(model, config, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_what_to_lower(base, tmp_path, error):
    config = toy_config()
    model = toy_model("mean+causal", base, config)

    def fail(module, inputs):
        raise error

    model[1].register_forward_pre_hook(fail)
    with pytest.raises(ModelError, match=r"out of memory.*mini_batch_size \(8.*max_tokens \(16\).*checkpointing"):
        toy_train(model, config, tmp_path)


CPU_FULL = "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"


@pytest.mark.parametrize("error", [RuntimeError(CPU_FULL), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_step_that_runs_out_of_memory_goes_on_with_half_the_mini_batch(base, tmp_path, caplog, error):
    """The weights are, bit for bit, those of a training with that mini-batch from the start, also with dropout."""

    def train(folder: str, largest: int, mini_batch: int) -> tuple[dict, list[int]]:
        config = toy_config(steps=3, mini_batch_size=mini_batch, lora_dropout=0.1)
        model, rows = toy_model("mean+causal", base, config), []

        def small_device(module, inputs):
            rows.append(len(inputs[0]["attention_mask"]))
            if rows[-1] > largest:
                raise error

        model[1].register_forward_pre_hook(small_device)
        toy_train(model, config, tmp_path / folder)
        return weights(model), rows

    halved, rows = train("halved", largest=2, mini_batch=8)
    assert rows[0] == 12 and max(rows[1:]) == 2  # all texts of the batch at once, then mini-batches
    notes = [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()]
    assert notes == [
        "out of memory in step 1 with 4 rows at a time: mini-batches of 2 from here on; the gradient stays the same"
    ]
    wanted, _ = train("from the start", largest=4, mini_batch=2)
    assert all(torch.equal(halved[name], wanted[name]) for name in wanted)


def test_what_a_failed_backward_left_of_the_gradient_does_not_count(base, tmp_path):
    def train(folder: str, fails: bool, mini_batch: int) -> dict:
        config = toy_config(steps=3, mini_batch_size=mini_batch)
        model, calls = toy_model("mean+causal", base, config), []

        def fail_once(gradient):
            calls.append(1)
            if fails and len(calls) == 1:
                raise RuntimeError(CPU_FULL)

        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        trained[0].register_hook(fail_once)  # the first layer's: the gradients of the others are there already
        toy_train(model, config, tmp_path / folder)
        return weights(model)

    disturbed, wanted = train("disturbed", fails=True, mini_batch=8), train("wanted", fails=False, mini_batch=2)
    assert all(torch.equal(disturbed[name], wanted[name]) for name in wanted)


def test_other_runtime_errors_are_not_called_out_of_memory(base, tmp_path):
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    config = toy_config()
    model = toy_model("mean+causal", base, config)

    def fail(module, inputs):
        raise RuntimeError("shapes do not match")

    model[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes"):
        toy_train(model, config, tmp_path)


def test_peak_memory_sees_what_was_there_for_a_moment():
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        held = torch.ones(64 * 2**20)
        torch.sum(held)
        for _ in range(20):
            held.add_(1)
        del held
    assert peak.gib > before.gib + 0.2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library keeps no freed memory")
def test_peak_memory_of_a_run_does_not_count_what_runs_before_it_freed():
    # In a process that keeps freed memory, as the workers of a study do.
    script = """
        import torch
        from poolwise.training.measure import PeakMemory
        with PeakMemory(torch.device("cpu")) as before:
            pass
        held = [torch.ones(2**18) for _ in range(512)]
        kept = torch.ones(2**18)
        del held
        with PeakMemory(torch.device("cpu")) as after:
            pass
        print(after.gib - before.gib)
    """
    keep = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | keep)
    assert float(found.stdout) < 0.1
