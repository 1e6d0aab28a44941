"""``poolwise train`` in two processes, started by torchrun and by poolwise itself, against one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import toys
from command_line import POOLWISE
from poolwise.errors import PoolwiseError
from poolwise.records import RunManifest, load_record, load_steps
from poolwise.study.single_training import build_single_run, train_single
from tiny_models import save_tiny_base

SET = ["batch_size=5", "max_tokens=16", "lora_dropout=0", "precision=fp32"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "poolwise"]
ACCELERATE = [
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "-m",
    "poolwise",
]


def options(folder: Path, steps: int, *more: str) -> list[str]:
    given = ["--design", "last+causal", "--base", "base", "--data", "train.jsonl", "--out", "out"]
    return ["train", *given, "--steps", str(steps), *(part for value in (*SET, *more) for part in ("--set", value))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_tiny_base(tmp_path / "base", "llama")
    toys.write_training(tmp_path / "train.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(command: list[str]) -> subprocess.Popen[str]:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, text=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def losses(out: Path) -> list[float]:
    return [step.loss for step in load_steps(out / "training.jsonl")]


def train_here(steps: int, out: Path) -> list[float]:
    run = build_single_run("last+causal", "base", ["train.jsonl"], steps, 0, None, SET)
    train_single(run, out, lambda *_: None)
    return losses(out)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_a_launcher_gives_the_curve_of_one_process_and_one_output(launcher: list[str], folder: Path) -> None:
    done = start([*launcher, *options(folder, 3)])
    output, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert losses(folder / "out") == pytest.approx(train_here(3, folder / "one"), abs=1e-5)
    assert output.count("model: ") == 1
    assert (folder / "out" / "model" / "modules.json").is_file()
    assert {path.name for path in (folder / "out").iterdir()} == {path.name for path in (folder / "one").iterdir()}
    mine, theirs = (load_record(RunManifest, folder / name / "run.json") for name in ("out", "one"))
    assert (mine.hashes, mine.training) == (theirs.hashes, theirs.training)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "arguments", "message"),
    [
        (TORCHRUN, ["--set", "processes=4"], "error: train.processes is 4, but 2 processes were started"),
        (ACCELERATE, ["--set", "processes=4"], "error: train.processes is 4, but 2 processes were started"),
        (TORCHRUN, ["--steps", "many"], "Usage: python -m poolwise train"),
    ],
    ids=["torchrun", "accelerate", "usage"],
)
def test_a_launcher_prints_an_error_once(launcher: list[str], arguments: list[str], message: str, folder: Path) -> None:
    done = start([*launcher, *options(folder, 3), *arguments])
    _, errors = done.communicate(timeout=300)
    assert done.returncode != 0
    assert errors.count(message) == 1
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_a_killed_rank_of_torchrun_ends_the_others_with_one_clear_error(folder: Path) -> None:
    started = start([*TORCHRUN, *options(folder, 4000, "save_steps=5")])
    checkpoints = folder / "out" / "checkpoints"
    while not list(checkpoints.glob("checkpoint-*")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)
    ranks = [one for one in psutil.Process(started.pid).children() if "train" in one.cmdline()]
    assert len(ranks) == 2
    ranks[-1].kill()
    _, errors = started.communicate(timeout=120)
    assert started.returncode != 0
    assert "this is a bug in poolwise" not in errors
    assert "another process of this training has ended" in errors or "stopped by SIGTERM" in errors
    assert not any(rank.is_running() for rank in ranks)
    assert list(checkpoints.glob("checkpoint-*"))


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_a_checkpoint_and_no_process_and_one_process_resumes(folder: Path) -> None:
    started = start([*POOLWISE, *options(folder, 400, "processes=2")])
    while not (folder / "out" / "training.jsonl").is_file() or not losses(folder / "out"):
        assert started.poll() is None, started.communicate()
        time.sleep(0.05)
    ranks = psutil.Process(started.pid).children(recursive=True)
    assert len(ranks) >= 2
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 130
    assert "run the same command again to resume" in errors
    done = len(losses(folder / "out"))
    assert [path.name for path in (folder / "out" / "checkpoints").iterdir()] == [f"checkpoint-{done}"]
    assert not any(rank.is_running() for rank in ranks)
    told: list[str] = []

    class EnoughError(PoolwiseError):
        pass

    def report(step: int, total: int, detail: str) -> None:
        told.append(detail)
        if step == done + 2:
            raise EnoughError("enough")

    run = build_single_run("last+causal", "base", ["train.jsonl"], 400, 0, None, SET)
    with pytest.raises(EnoughError):
        train_single(run, folder / "out", report)
    assert told[0] == f"resuming from step {done}"
