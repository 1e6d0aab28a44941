"""Trackers: what they are sent, where it goes, and that they change nothing else."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from poolwise.config import Recipe, TrainConfig, build_recipe, hashed_training
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


def test_a_tracked_run_of_wandb_is_closed(monkeypatch):
    closed = []
    module = ModuleType("wandb")
    module.finish = lambda: closed.append(True)
    monkeypatch.setitem(sys.modules, "wandb", module)
    trackers.close_trackers(["tensorboard"])
    assert closed == []
    trackers.close_trackers(["wandb"])
    assert closed == [True]


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
