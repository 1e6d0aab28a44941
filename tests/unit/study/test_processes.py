"""Trainings of a study in several processes, and which GPUs its workers see."""

from __future__ import annotations

import os
import textwrap
from functools import partial
from pathlib import Path

import pytest

import toys
from poolwise.config import Recipe, build_recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Job, Processes, Progress, choose_workers, processes, run_jobs, share_gpus
from poolwise.kernels.devices import require_processes
from poolwise.models import load_model
from poolwise.ranks import ALONE, is_launched, join_launched, visible_gpus
from poolwise.records import RunManifest, iter_run_folders, load_record, load_steps
from poolwise.study import limits, study
from poolwise.study.single_training import build_single_run, train_single
from poolwise.study.study import run_study
from tiny_models import save_tiny_base

SEEING = """
    import os, signal, time

    def open_run(out):
        def run(job, report):
            if job.key == "killed":  # also when it is tried again
                os.kill(os.getpid(), signal.SIGKILL)
            (out / f"{job.key}.seen").write_text(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}")
            while len(list(out.glob("*.seen"))) < 2:
                time.sleep(0.05)

        return run
"""


def recipe(folder: Path, base: str, *, adapts: bool = True, **train: object) -> Recipe:
    return build_recipe(tree(folder, base, adapts, train))


def tree(folder: Path, base: str, adapts: bool, train: dict[str, object]) -> dict[str, object]:
    pairs = toys.write_suite(folder / "suite") / "sts" / "toy-sts"
    (pairs / "dev.jsonl").write_text((pairs / "test.jsonl").read_text().replace("the ", "this "))
    return {
        "name": "toy",
        "base": base,
        "designs": ["mean+bidirectional"],
        "reference": "mean+bidirectional",
        "seeds": [0],
        "data": {"train": [str(toys.write_training(folder / "train.jsonl"))]},
        "train": {"steps": 2, "batch_size": 5, "max_tokens": 16, "lora_dropout": 0, "precision": "fp32"} | train,
        "adapt": {"steps": 2, "batch_size": 3, "max_tokens": 16, "mask_token": "<unk>"} if adapts else None,
        "tasks": [str(pairs)],
        "anchors": [],
    }


@pytest.mark.slow
def test_a_study_trains_and_adapts_in_two_processes(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama", with_head=True)
    looks = {"early_stopping": {"dev": [str(tmp_path / "suite" / "sts" / "toy-sts") + "@dev"], "every": 1}}
    one, two = recipe(tmp_path, base, **looks), recipe(tmp_path, base, processes=2, **looks)
    assert one.fingerprint == two.fingerprint
    for name, wanted in (("one", one), ("two", two)):
        run_study(wanted, tmp_path / name, workers=1)
    assert study_files(tmp_path / "one") == study_files(tmp_path / "two")
    for (_, mine), (_, theirs) in zip(curves(tmp_path / "one"), curves(tmp_path / "two"), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    # Another number of processes continues the same study: nothing is left to do.
    results = run_study(one, tmp_path / "two", workers=1)
    (folder,) = iter_run_folders(tmp_path / "two")
    manifest = load_record(RunManifest, folder / "run.json")
    assert "processes" not in manifest.training and manifest.notes[-1] == "trained by 2 processes"
    assert [look.step for look in manifest.looks] == [1, 2] and manifest.chosen_step in (1, 2)
    assert results.results.failures == {}


@pytest.mark.slow
def test_a_study_shares_out_the_weights_of_its_trainings(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    one, two = (recipe(tmp_path, base, adapts=False, **keys) for keys in ({}, {"processes": 2, "shard": True}))
    assert one.fingerprint == two.fingerprint
    for name, wanted in (("one", one), ("two", two)):
        run_study(wanted, tmp_path / name, workers=1)
    assert study_files(tmp_path / "one") == study_files(tmp_path / "two")
    mine, theirs = (next(iter_run_folders(tmp_path / name)) for name in ("one", "two"))
    first, second = (load_record(RunManifest, folder / "run.json") for folder in (mine, theirs))
    assert (first.hashes, first.training, first.probe) == (second.hashes, second.training, second.probe)
    assert second.notes[-1] == "trained by 2 processes, each with a part of the weights"
    texts = ["a dog runs", "the old man plays"]
    apart = load_model(mine).encode(texts) - load_model(theirs).encode(texts)
    assert abs(apart).max() < 1e-5


def test_what_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", "llama")
    with pytest.raises(ConfigError, match=r"train\.shard with one process: nothing shares the weights"):
        run_study(recipe(tmp_path, base, adapts=False, shard=True), tmp_path / "out", workers=1)
    with pytest.raises(ConfigError, match=r"train\.shard and adapt: the LM head"):
        recipe(tmp_path, base, processes=2, shard=True)
    with pytest.raises(ConfigError, match=r"shard and early_stopping: a look needs the whole model"):
        recipe(tmp_path, base, shard=True, early_stopping={"dev": ["d"], "every": 1})
    with pytest.raises(ConfigError, match=r"train\.shard and base_dtype nf4"):
        build_recipe(tree(tmp_path, base, False, {"shard": True, "precision": "bf16"}) | {"base_dtype": "nf4"})
    run = build_single_run("mean+causal", base, [str(tmp_path / "train.jsonl")], 1, 0, None, ["shard=true"])
    with pytest.raises(ConfigError, match=r"train\.shard with one process.*set train\.processes"):
        train_single(run, tmp_path / "single", lambda *_: None)
    assert not (tmp_path / "single").exists() and not (tmp_path / "out" / "study.json").exists()


def study_files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def curves(out: Path) -> list[tuple[str, list[float]]]:
    found = sorted(out.rglob("training.jsonl"))
    assert len(found) == 2
    return [(path.parent.name, [step.loss for step in load_steps(path)]) for path in found]


def test_too_many_processes_are_one_error_before_the_first_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_tiny_base(tmp_path / "base", "llama", with_head=True)
    monkeypatch.setattr(limits, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(ConfigError, match=r"^4 training processes, but 2 GPUs \(cuda\).*lower train\.processes"):
        run_study(recipe(tmp_path, base, processes=4), tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "study.json").exists()
    monkeypatch.setattr(limits, "visible_gpus", list)
    with pytest.raises(ConfigError, match=r"train\.processes is 4; wanted at most adapt\.batch_size, 3"):
        run_study(recipe(tmp_path, base, processes=4), tmp_path / "out", workers=1)
    with pytest.raises(ConfigError, match=r"train: processes is 6, but a batch has 5 rows"):
        recipe(tmp_path, base, processes=6)
    monkeypatch.setattr(study, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(ConfigError, match="2 workers with 2 training processes each, but 2 GPUs"):
        run_study(recipe(tmp_path, base, processes=2), tmp_path / "out", workers=2)


def test_a_single_training_refuses_too_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from poolwise.study import single_training

    monkeypatch.setattr(single_training, "visible_gpus", lambda: ["0"])
    toys.write_training(tmp_path / "train.jsonl")
    run = build_single_run("mean+causal", "poolwise/nano", [str(tmp_path / "train.jsonl")], 1, 0, None, ["processes=2"])
    with pytest.raises(ConfigError, match=r"2 training processes, but 1 GPU \(cuda\)"):
        train_single(run, tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("count", "device", "num_gpus", "message"),
    [
        (3, None, 2, r"3 training processes, but 2 GPUs"),
        (2, "cuda:1", 2, "2 processes and device 'cuda:1'"),
        (2, "mps", 0, r"2 training processes, but 1 GPU \(mps\)"),
        (2, None, 2, None),
        (2, "cuda", 2, None),
        (5, "cpu", 2, None),
        (1, "cuda:1", 2, None),
    ],
)
def test_each_process_needs_a_gpu(count: int, device: str | None, num_gpus: int, message: str | None) -> None:
    if message is None:
        require_processes(count, device, num_gpus)
    else:
        with pytest.raises(ConfigError, match=message):
            require_processes(count, device, num_gpus)


def test_workers_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "visible_gpus", lambda: ["0", "1", "4", "5"])
    asked = ((9, 1000.0, 1), (3, 1.0, 1), (9, 1.0, 2), (9, 1.0, 3))
    assert [choose_workers(*arguments) for arguments in asked] == [4, 3, 2, 1]
    gpus = processes.visible_gpus()
    assert share_gpus(gpus, 2) == ["0", "1"]
    assert share_gpus(gpus, 6) == ["0", "1", "4", "5", "0", "1"]
    assert share_gpus(gpus, 2, 2) == ["0,1", "4,5"]
    assert share_gpus([], 6, 2) == []
    monkeypatch.setattr(processes, "visible_gpus", list)
    monkeypatch.setattr(processes, "usable_cores", lambda: range(8))
    assert [choose_workers(9, 1e-6), choose_workers(9, 1e-6, 2), choose_workers(9, 1e9)] == [8, 4, 1]


def test_torchrun_with_one_process_is_a_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert is_launched()
    assert join_launched() == ALONE
    assert not is_launched() and "LOCAL_RANK" not in os.environ


def test_accelerate_with_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"configured for FSDP.*--multi_gpu, or use torchrun"):
        join_launched()


def test_visible_gpus_are_named_as_the_user_chose_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8932f937")
    assert visible_gpus() == ["3", "GPU-8932f937"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_each_worker_sees_its_own_gpu_also_after_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seeing_jobs.py").write_text(textwrap.dedent(SEEING))
    monkeypatch.syspath_prepend(str(tmp_path))
    import seeing_jobs  # type: ignore[import-not-found]

    opened = partial(seeing_jobs.open_run, tmp_path)
    first, *others = (Job("train", name, 0, name, name, name) for name in ("killed", "a", "b"))
    with Processes(opened, tmp_path, 2, (), share_gpus(["6", "7"], 2)) as executor:
        assert run_jobs([first], tmp_path, executor, Progress()).keys() == {first.label}
        assert run_jobs(others, tmp_path, executor, Progress()) == {}
    seen = [(tmp_path / f"{name}.seen").read_text().split() for name in ("a", "b")]
    assert {gpu for _, gpu in seen} == {"6", "7"}
    assert len({pid for pid, _ in seen}) == 2
