"""A study on a Ray cluster of two nodes: the results of the local executor, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ray_nodes
from command_line import POOLWISE, poolwise, write_recipe
from golden_study import golden_recipe
from poolwise.errors import ConfigError
from poolwise.jobs import Job, Progress, ray_jobs, run_jobs
from poolwise.jobs.ray_cluster import Cluster, Share
from poolwise.jobs.ray_jobs import CLAIM, OnRay, claim, release, require_shared
from poolwise.records import load_record
from poolwise.results import StudyResults
from poolwise.study.on_ray import numbers_of, require_same_numbers
from poolwise.study.study import run_study

TWO = Share(2, 1, 0)
FIRST, SECOND = (Job("train", name, 0, name, name, name) for name in ("first", "second"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with ray_nodes.two_nodes() as cluster:
        yield cluster


@pytest.mark.slow
def test_results_are_those_of_the_local_executor(nodes: Any, tmp_path: Path) -> None:
    recipe = golden_recipe(tmp_path)
    local = run_study(recipe, tmp_path / "local", workers=1)
    ray = run_study(recipe, tmp_path / "ray", cluster=Cluster(nodes.address))
    assert ray.results == local.results and ray.results.failures == {}
    assert ray.measured.machine["jobs_ran_on"] == "a Ray cluster of 2 nodes: 2 x (1 CPU, 0 GPUs)"
    for name in ("items/sts/toy-sts.json.gz", "training.jsonl"):
        mine, theirs = (sorted((tmp_path / out / "runs").rglob(name)) for out in ("local", "ray"))
        assert [path.name for path in mine] == [path.name for path in theirs] and mine
    assert not (tmp_path / "ray" / "jobs" / CLAIM).exists()


@pytest.mark.slow
def test_a_job_whose_worker_is_lost_is_run_once_more(nodes: Any, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    class Listener(Progress):
        def job_advanced(self, job: Job, done: int, total: int, detail: str) -> None:
            told.append((job.key, done, total))

    opened = partial(ray_nodes.open_fatal_jobs, tmp_path)
    with OnRay(opened, tmp_path, Cluster("tests"), TWO) as executor:
        failures = run_jobs([FIRST, SECOND], tmp_path, executor, Listener())
    assert failures.keys() == {SECOND.label}  # it kills its worker each time, the first one only once
    assert failures[SECOND.label].startswith("2 workers were lost with it (out of memory?): ")
    assert (tmp_path / "first.tries").read_text() == (tmp_path / "second.tries").read_text() == "xx"
    assert ("first", 1, 2) in told


@pytest.mark.slow
def test_a_driver_that_is_killed_comes_back(nodes: Any, tmp_path: Path) -> None:
    designs = {"designs": ["last+causal", "mean+causal"], "reference": "last+causal"}
    recipe = write_recipe(tmp_path, seeds=[0], tasks=["suite/sts"], anchors=["untuned"], **designs)
    asked = ["study", str(recipe), "--out", "out", "--executor", "ray", "--ray-address", nodes.address]
    running = subprocess.Popen(
        [*POOLWISE, *asked], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    states = tmp_path / "out" / "jobs"
    while not list(states.glob("*.json")):
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    before = {path: path.stat().st_mtime_ns for path in states.glob("*.json") if "done" in path.read_text()}
    assert before and (states / CLAIM).exists()
    poolwise(*asked, cwd=tmp_path)
    found = load_record(StudyResults, tmp_path / "out" / "results.json")
    assert found.results.failures == {}
    assert len(list(states.glob("*.json"))) > len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # no finished job has run again


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_is_one_error(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All nodes of the tests are this machine: the claim of another driver stands for another folder of that name.
    monkeypatch.setattr(ray_jobs, "claim", lambda out, token: claim(out, "another"))
    opened = partial(ray_nodes.open_fatal_jobs, tmp_path)
    message = rf"^node [\d.]+: it does not see {tmp_path} as the driver does; wanted an output folder that"
    with pytest.raises(ConfigError, match=message), OnRay(opened, tmp_path, Cluster("tests"), TWO) as executor:
        run_jobs([FIRST], tmp_path, executor, Progress())


def test_a_folder_is_shared_if_the_claim_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path, "mine")
    require_shared(tmp_path, "mine")
    monkeypatch.setattr(ray_jobs, "SEEN_SECONDS", 0.3)
    with pytest.raises(ConfigError, match=r"it does not see .*give a folder on shared storage as --out"):
        require_shared(tmp_path, "yours")
    release(tmp_path, "yours")
    assert (tmp_path / "jobs" / CLAIM).exists()
    release(tmp_path, "mine")
    assert not (tmp_path / "jobs" / CLAIM).exists()


def test_a_worker_ends_when_another_driver_claims_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "WATCH_SECONDS", 0.05)
    ended = threading.Event()
    monkeypatch.setattr(ray_jobs.os, "_exit", lambda code: ended.set())
    path = tmp_path / "jobs" / CLAIM
    claim(tmp_path, "mine")
    threading.Thread(target=ray_jobs._end_when_replaced, args=(path, "mine"), daemon=True).start()
    assert not ended.wait(0.3)
    path.unlink()  # what a network file system may show for a moment
    assert not ended.wait(0.3)
    claim(tmp_path, "yours")
    assert ended.wait(5)


def test_a_node_that_computes_in_other_numbers_is_refused(tmp_path: Path) -> None:
    recipe = golden_recipe(tmp_path)
    assert numbers_of(recipe) == {"base_dtype": "fp32"}
    automatic = recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"precision": "auto"})})
    planned = numbers_of(automatic)
    assert planned.keys() == {"base_dtype", "eval.precision"}
    require_same_numbers(automatic, planned)
    with pytest.raises(ConfigError, match=r"^eval\.precision is \w+, on the driver other; .*set eval\.precision"):
        require_same_numbers(automatic, planned | {"eval.precision": "other"})


def test_options_of_the_executor(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    for options, message in (
        (["--executor", "dask"], "--executor dask; wanted local or ray"),
        (["--ray-address", "auto"], "--ray-address auto without --executor ray"),
        (["--executor", "ray", "--ray-address", "127.0.0.1:1"], "cannot connect to the Ray cluster 127.0.0.1:1"),
    ):
        assert message in poolwise("study", recipe, *options, cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "runs").exists()
