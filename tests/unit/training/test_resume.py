"""A stopped run resumes and ends with the same weights, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from poolwise.errors import ConfigError, ModelError
from poolwise.records import load_steps
from poolwise.storage.checksums import checksums
from poolwise.training import checkpoints
from toy_training import StopError, stop_at, toy_config, toy_model, toy_train, weights

DESIGN = "multilayer+bidirectional"


@pytest.fixture(scope="module")
def uninterrupted(base, tmp_path_factory):
    config = toy_config()
    model = toy_model(DESIGN, base, config)
    folder = tmp_path_factory.mktemp("whole")
    toy_train(model, config, folder)
    return weights(model), [step.loss for step in load_steps(folder / "training.jsonl")]


def resumed(base, folder, config=None):
    model = toy_model(DESIGN, base, config or toy_config())
    steps = []
    toy_train(model, config or toy_config(), folder, on_step=lambda step: steps.append(step.step))
    return model, steps


def assert_same_run(model, folder, uninterrupted):
    expected, losses = uninterrupted
    found = weights(model)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    lines = (folder / "training.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert [step.loss for step in load_steps(folder / "training.jsonl")] == losses


@pytest.mark.parametrize(("stopped", "first"), [(1, 1), (3, 3), (4, 3)])
def test_an_exception_at_any_step_and_a_second_call(base, tmp_path, uninterrupted, stopped, first):
    with pytest.raises(StopError):
        toy_train(toy_model(DESIGN, base, toy_config()), toy_config(), tmp_path, on_step=stop_at(stopped))
    # What a kill in the middle of writing a checkpoint leaves behind must not be taken for one.
    (tmp_path / "checkpoints" / "partial" / "checkpoint-9").mkdir(parents=True, exist_ok=True)
    model, steps = resumed(base, tmp_path)
    # Checkpoints come every two steps; the record of a step precedes its checkpoint.
    assert steps == list(range(first, 7))
    assert_same_run(model, tmp_path, uninterrupted)


def test_without_the_stored_random_state_the_weights_differ(base, tmp_path, uninterrupted, monkeypatch):
    with pytest.raises(StopError):
        toy_train(toy_model(DESIGN, base, toy_config()), toy_config(), tmp_path, on_step=stop_at(3))
    (rng,) = tmp_path.glob("checkpoints/checkpoint-2/rng_state.pth")
    rng.unlink()
    monkeypatch.setattr(checkpoints, "checkpoint_damage", lambda path, **_: "")  # which would refuse it
    model, _ = resumed(base, tmp_path)
    assert any(not torch.equal(value, uninterrupted[0][name]) for name, value in weights(model).items())


@pytest.fixture(scope="module")
def stopped(base, tmp_path_factory):
    """A training of six steps that ended in the third; its checkpoint is that of step 2."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(StopError):
        toy_train(toy_model(DESIGN, base, toy_config()), toy_config(), folder, on_step=stop_at(3))
    return folder


DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-5] + bytes([path.read_bytes()[-5] ^ 1]) + b"0000"),
    "of another": lambda path: path.write_bytes(path.read_bytes()[::-1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_checkpoint_with_a_damaged_file_is_used(tmp_path, stopped, caplog, damage):
    files = sorted(path.name for path in (stopped / "checkpoints" / "checkpoint-2").iterdir())
    assert {"optimizer.pt", "rng_state.pth", "scheduler.pt", "trained.safetensors", "training.jsonl"} < set(files)
    run_hash = json.loads((stopped / "checkpoints" / "checkpoint-2" / "run.json").read_text())["run"]
    shutil.copytree(stopped, tmp_path / "whole")
    assert checkpoints.find_checkpoint(tmp_path / "whole" / "checkpoints", run_hash) is not None
    for name in files:
        folder = tmp_path / name / "checkpoints"
        shutil.copytree(stopped / "checkpoints", folder)
        DAMAGES[damage](folder / "checkpoint-2" / name)
        caplog.clear()
        assert checkpoints.find_checkpoint(folder, run_hash) is None
        (note,) = caplog.messages
        assert name in note and "checkpoint-2" in note and "does not resume" in note


def test_an_older_checkpoint_or_the_beginning_takes_the_place_of_a_damaged_one(base, tmp_path, stopped, uninterrupted):
    shutil.copytree(stopped, tmp_path / "older")
    shutil.copytree(stopped / "checkpoints" / "checkpoint-2", tmp_path / "older" / "checkpoints" / "checkpoint-4")
    shutil.copytree(stopped, tmp_path / "beginning")
    (tmp_path / "beginning" / "checkpoints" / "checkpoint-2" / "optimizer.pt").unlink()
    for name, first in (("older", 3), ("beginning", 1)):
        model, steps = resumed(base, tmp_path / name)
        assert steps == list(range(first, 7))
        assert_same_run(model, tmp_path / name, uninterrupted)


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"{}\n"])
def test_the_log_of_a_stopped_training_is_that_of_its_checkpoint(base, tmp_path, stopped, uninterrupted, content):
    shutil.copytree(stopped, tmp_path / "run")
    log = tmp_path / "run" / "training.jsonl"
    log.unlink() if content is None else log.write_bytes(content)
    model, steps = resumed(base, tmp_path / "run")
    assert steps == [3, 4, 5, 6]
    assert_same_run(model, tmp_path / "run", uninterrupted)


def test_a_signal_waits_for_its_checkpoint_and_is_then_delivered(base, tmp_path, uninterrupted, interruptible):
    def on_step(step):
        if step.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        toy_train(toy_model(DESIGN, base, toy_config()), toy_config(), tmp_path, on_step=on_step)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-3"]
    model, steps = resumed(base, tmp_path)
    assert steps == [4, 5, 6]
    assert_same_run(model, tmp_path, uninterrupted)


def test_a_handler_that_returns_does_not_make_a_stopped_run_look_finished(base, tmp_path):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            toy_train(
                toy_model(DESIGN, base, toy_config()),
                toy_config(),
                tmp_path,
                on_step=lambda step: signal.raise_signal(signal.SIGTERM) if step.step == 1 else None,
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_process_killed_outright(base, tmp_path, uninterrupted):
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from toy_training import toy_config, toy_model, toy_train
        def on_step(step):
            if step.step == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        toy_train(toy_model({DESIGN!r}, {base!r}, toy_config()), toy_config(), Path({str(tmp_path)!r}), on_step=on_step)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    model, steps = resumed(base, tmp_path)
    assert steps == [5, 6]
    assert_same_run(model, tmp_path, uninterrupted)


@pytest.mark.parametrize("changes", [{"learning_rate": 1e-5}, {"temperature": 0.1}])
def test_a_checkpoint_of_another_run_is_refused(base, tmp_path, changes):
    with pytest.raises(StopError):
        toy_train(toy_model(DESIGN, base, toy_config()), toy_config(), tmp_path, on_step=stop_at(3))
    with pytest.raises(ConfigError, match=r"checkpoint-2 is a checkpoint of run .* use another output folder"):
        resumed(base, tmp_path, toy_config(**changes))


def test_starting_afresh_ignores_the_checkpoint(base, tmp_path, uninterrupted):
    with pytest.raises(StopError):
        toy_train(toy_model(DESIGN, base, toy_config()), toy_config(), tmp_path, on_step=stop_at(3))
    model = toy_model(DESIGN, base, toy_config())
    toy_train(model, toy_config(), tmp_path, resume=False)
    assert_same_run(model, tmp_path, uninterrupted)


def test_a_checkpoint_holds_trained_parameters_only(base, tmp_path):
    from safetensors.torch import load_file

    model = toy_model(DESIGN, base, toy_config())
    with pytest.raises(StopError):
        toy_train(model, toy_config(), tmp_path, on_step=stop_at(3))
    stored = load_file(tmp_path / "checkpoints" / "checkpoint-2" / "trained.safetensors")
    assert set(stored) == {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_full_training_moves_every_weight_of_the_base_and_resumes(base, tmp_path):
    config = toy_config(method="full", learning_rate=1e-3)
    whole, start = toy_model("mean+causal", base, config), toy_model("mean+causal", base, config)
    toy_train(whole, config, tmp_path / "whole")
    before, after = weights(start), weights(whole)
    assert all(not torch.equal(after[name], before[name]) for name in before if "proj" in name)
    with pytest.raises(StopError):
        toy_train(toy_model("mean+causal", base, config), config, tmp_path / "cut", on_step=stop_at(5))
    resumed = toy_model("mean+causal", base, config)
    toy_train(resumed, config, tmp_path / "cut")
    assert all(torch.equal(value, after[name]) for name, value in weights(resumed).items())


class Payload:
    """What a pickle of it does when it is loaded: it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("is_zip", [True, False], ids=["as torch writes", "a plain pickle"])
def test_no_pickle_of_a_checkpoint_runs_code_even_with_right_checksums(base, tmp_path, stopped, name, is_zip):
    run, marker = shutil.copytree(stopped, tmp_path / "run"), tmp_path / "executed"
    checkpoint = next((run / "checkpoints").glob("checkpoint-*"))
    assert (checkpoint / name).is_file()
    torch.save({"state": Payload(marker)}, checkpoint / name, _use_new_zipfile_serialization=is_zip)
    stored = json.loads((checkpoint / "files.json").read_text())
    stored["files"] |= checksums(checkpoint, [checkpoint / name])
    (checkpoint / "files.json").write_text(json.dumps(stored))
    assert not checkpoints.checkpoint_damage(checkpoint)
    with pytest.raises(ModelError, match=r"checkpoint-2: it is a pickle with more than tensors, which is not opened"):
        resumed(base, run)
    assert not marker.exists()
    torch.load(checkpoint / name, weights_only=False)  # it would have
    assert marker.is_dir()
