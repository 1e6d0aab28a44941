"""How the command talks: verbose, quiet, and when it is stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

from command_line import POOLWISE, poolwise, write_recipe

TRAIN = [
    *("train", "--design", "mean+causal", "--data", "train.jsonl", "--steps", "5000", "--out", "run"),
    *("--set", "batch_size=4", "--set", "max_tokens=16"),
]


def test_verbose_shows_where_an_error_arose_and_quiet_the_error_alone(tmp_path: Path) -> None:
    write_recipe(tmp_path, tasks=["nowhere"])
    arguments = ("study", "toy.yaml", "--out", "out")
    assert "Traceback" in poolwise("--verbose", *arguments, cwd=tmp_path, code=2).stderr
    assert poolwise("--quiet", *arguments, cwd=tmp_path, code=2).stderr.startswith("error: ")
    found = poolwise("--quiet", "--verbose", *arguments, cwd=tmp_path, code=2)
    assert found.stderr == "error: both --verbose and --quiet are given; give one of them\n"


def test_quiet_prints_results_and_nothing_else(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    steps = ("train", "--design", "mean+causal", "--data", "train.jsonl", "--steps", "1", "--out", "run")
    found = poolwise("--quiet", *steps, "--set", "batch_size=4", cwd=tmp_path)
    assert found.stderr == ""
    assert found.stdout.startswith("model: run/model\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_stopped_training_says_so_and_its_run_is_not_mistaken_for_a_model(
    tmp_path: Path, number: signal.Signals, name: str
) -> None:
    write_recipe(tmp_path)
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*POOLWISE, *TRAIN],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        preexec_fn=heed_signals,
    ) as process:
        steps = tmp_path / "run" / "training.jsonl"
        for _ in range(1200):
            if steps.is_file() and steps.stat().st_size:
                break
            time.sleep(0.1)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"stopped by {name}: run the same command again to resume; what is finished is kept"
    assert "Traceback" not in said
    assert list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    for verb in (["eval", "run", "--tasks", "suite", "--out", "scores"], ["doctor", "run"]):
        found = poolwise(*verb, cwd=tmp_path, code=2)
        assert "training is not finished" in found.stderr and found.stderr.count("\n") == 1
    assert not (tmp_path / "scores").exists()


@pytest.mark.slow
def test_a_ctrl_c_at_a_terminal_loses_no_step_of_a_study_in_workers(tmp_path: Path) -> None:
    """A terminal tells every process of the command, and the study tells its workers once more."""
    write_recipe(tmp_path, train={"steps": 5000, "batch_size": 4, "max_tokens": 16})
    with subprocess.Popen(
        [*POOLWISE, "study", "toy.yaml", "--out", "out", "--workers", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=heed_signals,
    ) as process:
        for _ in range(1200):
            if len([path for path in tmp_path.glob("out/runs/*/training.jsonl") if path.stat().st_size]) == 2:
                break
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in said
    assert len(list(tmp_path.glob("out/runs/*/checkpoints/checkpoint-*"))) == 2


@pytest.mark.slow
def test_a_closed_terminal_loses_no_step_of_a_study_in_workers(tmp_path: Path) -> None:
    """Every process of the command is told, and nothing can be printed any more."""
    write_recipe(tmp_path, train={"steps": 5000, "batch_size": 4, "max_tokens": 16})
    screen, terminal = os.openpty()

    def take_terminal() -> None:
        heed_signals()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        [*POOLWISE, "study", "toy.yaml", "--out", "out", "--workers", "2"],
        cwd=tmp_path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=take_terminal,
    ) as process:
        os.close(terminal)
        reader = threading.Thread(target=read_all, args=(screen,), daemon=True)
        reader.start()
        for _ in range(1200):
            if len([path for path in tmp_path.glob("out/runs/*/training.jsonl") if path.stat().st_size]) == 2:
                break
            assert process.poll() is None
            time.sleep(0.1)
        os.close(screen)
        try:
            assert process.wait(timeout=120) == 130
        finally:
            process.kill()  # or the block would wait for all of the study
    assert len(list(tmp_path.glob("out/runs/*/checkpoints/checkpoint-*"))) == 2
    assert not list(tmp_path.glob("out/.lock"))


def heed_signals() -> None:
    """Heed Ctrl-C and a closed terminal, which a shell that runs tests in the background, or nohup, lets ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def read_all(screen: int) -> None:
    """Read what is printed on a terminal, which would wait otherwise."""
    with contextlib.suppress(OSError):
        while os.read(screen, 4096):
            pass
