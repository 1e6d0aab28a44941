"""Trackers: what they are sent, where it goes, and that they change nothing else."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from poolwise.config import Recipe, TrainConfig, build_recipe, hashed_training
from poolwise.errors import ConfigError
from poolwise.records import load_steps
from poolwise.training import trackers
from toy_training import toy_config, toy_model, toy_train


@pytest.fixture
def tensorboard(monkeypatch):
    """A package with the one class that the integration uses; the real one is not among our dependencies."""
    written = {}

    class SummaryWriter:
        def __init__(self, log_dir):
            self.rows = written.setdefault(log_dir, [])

        def add_text(self, *_):
            pass

        def add_hparams(self, *_, **__):
            pass

        def add_scalar(self, name, value, step):
            self.rows.append((step, name, value))

        def flush(self):
            pass

        def close(self):
            self.rows.append("closed")

    for name in ("tensorboard", "torch.utils.tensorboard"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["torch.utils.tensorboard"].SummaryWriter = SummaryWriter
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    return written


def test_every_step_is_sent_and_nothing_else_changes(base, tmp_path, tensorboard):
    plain, shown = toy_config(), toy_config(report_to=["tensorboard"])
    toy_train(toy_model("mean+causal", base, plain), plain, tmp_path / "plain")
    toy_train(toy_model("mean+causal", base, shown), shown, tmp_path / "shown")
    ((folder, rows),) = tensorboard.items()
    assert folder == str(tmp_path / "shown" / "tensorboard") and rows[-1] == "closed"
    steps = load_steps(tmp_path / "shown" / "training.jsonl")
    losses = {step: value for step, name, value in rows[:-1] if name == "train/loss"}
    assert losses == pytest.approx({step.step: step.loss for step in steps}, rel=1e-5)
    assert {name for _, name, _ in rows[:-1]} >= {"train/grad_norm", "train/learning_rate"}
    assert [s.loss for s in steps] == [s.loss for s in load_steps(tmp_path / "plain" / "training.jsonl")]


def test_dev_scores_are_sent(base, tmp_path, tensorboard):
    config = toy_config(report_to=["tensorboard"], early_stopping={"dev": ["d"], "every": 3})
    toy_train(toy_model("mean+causal", base, config), config, tmp_path, dev_score=iter([0.25, 0.5]).__next__)
    (rows,) = tensorboard.values()
    assert [(step, value) for step, name, value in rows[:-1] if name.endswith("dev_score")] == [(3, 0.25), (6, 0.5)]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: name == "tensorboardX" or None)
    assert trackers.missing_trackers(["tensorboard"]) == ""
    assert "train.report_to has wandb and mlflow, not installed" in trackers.missing_trackers(["wandb", "mlflow"])


class WandbCallback:
    """An integration in name, of which an event fails."""

    def __init__(self, failing=""):
        self.seen, self.failing = [], failing

    def __getattr__(self, event):
        return lambda *args, **_: self.send(event)

    def send(self, event):
        self.seen.append(event)
        if event == self.failing:
            raise OSError("no route to host\nmore")


class MLflowCallback(WandbCallback):
    """Another, whose run ends with a training."""


@pytest.fixture
def finished(monkeypatch):
    """How often wandb was told that its run is over."""
    calls = []
    module = ModuleType("wandb")
    module.finish = lambda: calls.append(True)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_a_tracked_run_of_wandb_is_closed(finished):
    trackers.GuardedTracker(MLflowCallback()).close()
    assert finished == []
    trackers.GuardedTracker(WandbCallback()).close()
    assert finished == [True]


@pytest.mark.parametrize("failing", ["on_train_begin", "on_log"])
def test_a_tracker_that_fails_ends_no_training_and_is_sent_nothing_more(failing, caplog):
    tracker = MLflowCallback(failing)
    guard = trackers.GuardedTracker(tracker)
    for event in ("on_train_begin", "on_log", "on_log", "on_train_end"):
        getattr(guard, event)("args", "state", "control", model=None)
    guard.close()
    assert tracker.seen[-2:] == [failing, "on_train_end"] and tracker.seen.count(failing) == 1
    (said,) = caplog.messages
    assert said == "MLflow failed, so this training is not tracked to its end: no route to host"


def test_the_run_of_a_failed_training_is_ended(caplog):
    tracker = MLflowCallback()
    guard = trackers.GuardedTracker(tracker)
    guard.on_log("args", "state", "control")
    guard.close()
    assert tracker.seen == ["on_log", "on_train_end"]
    guard.close()
    guard.on_log("args", "state", "control")
    assert tracker.seen.count("on_log") == 1 and not caplog.messages


def test_a_failing_tracker_changes_no_weights(base, tmp_path, tensorboard, monkeypatch, caplog):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(sys.modules["torch.utils.tensorboard"].SummaryWriter, "add_scalar", fail)
    config = toy_config(report_to=["tensorboard"])
    toy_train(toy_model("mean+causal", base, config), config, tmp_path)
    assert len(load_steps(tmp_path / "training.jsonl")) == config.steps
    assert caplog.messages.count("TensorBoard failed, so this training is not tracked to its end: disk full") == 1


@pytest.fixture
def mlflow(monkeypatch):
    """The client of a store: its experiments, or an error where it is None."""
    stores = {"experiments": ["Default"]}

    class MlflowClient:
        def __init__(self):
            if stores["experiments"] is None:
                raise RuntimeError("connection refused\nand a page of reasons")

        def get_experiment_by_name(self, name):
            return name if name in stores["experiments"] else None

        def create_experiment(self, name):
            stores["experiments"].append(name)

        def search_experiments(self, **_):
            return stores["experiments"]

    module = ModuleType("mlflow")
    module.MlflowClient = MlflowClient
    monkeypatch.setitem(sys.modules, "mlflow", module)
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")  # so that it is unset again afterwards
        monkeypatch.delenv(name)
    return stores


def test_the_experiment_of_mlflow_is_made_before_the_first_job(mlflow, monkeypatch):
    trackers.prepare_trackers(["wandb"])
    assert mlflow["experiments"] == ["Default"]
    trackers.prepare_trackers(["mlflow"])
    trackers.prepare_trackers(["mlflow"])
    assert mlflow["experiments"] == ["Default", "poolwise"]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    trackers.prepare_trackers(["mlflow"])
    assert mlflow["experiments"][2:] == ["mine"]
    assert os.environ["WANDB_PROJECT"] == "poolwise"


def test_an_experiment_that_the_user_chose_is_kept(mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    trackers.prepare_trackers(["mlflow"])
    assert mlflow["experiments"] == ["Default"] and "MLFLOW_EXPERIMENT_NAME" not in os.environ
    assert os.environ["WANDB_PROJECT"] == "mine"


def test_a_store_that_cannot_be_used_is_one_error(mlflow):
    mlflow["experiments"] = None
    with pytest.raises(ConfigError, match=r"(?s)mlflow cannot be used: connection refused; .*MLFLOW_TRACKING_URI"):
        trackers.prepare_trackers(["mlflow"])


def recipe(**train: object) -> Recipe:
    tree = {"name": "r", "base": "b", "designs": ["mean+causal"], "reference": "mean+causal"}
    return build_recipe({**tree, "data": {"train": ["x"]}, "tasks": ["t"], "train": train})


def test_trackers_enter_no_hash_but_are_kept_with_the_recipe():
    plain, shown = recipe(), recipe(report_to=["wandb"])
    assert shown.fingerprint == plain.fingerprint
    assert hashed_training(shown.train) == hashed_training(plain.train) == plain.train.model_dump(mode="json")
    assert build_recipe(shown.model_dump(mode="json")) == shown
    assert not {"report_to", "matryoshka", "early_stopping"} & TrainConfig().model_dump().keys()
    with pytest.raises(ValueError, match="report_to"):
        TrainConfig(report_to=["azure"])
