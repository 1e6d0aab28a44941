"""A Ray cluster of two small nodes on this machine, for tests, and functions that its workers import."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import corpus_folder
from poolwise.corpus.rows import Row
from poolwise.errors import ModelError
from poolwise.jobs.ray_cluster import SLOW_START
from support import ROOT

SMALL = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """Start a cluster whose workers can import the tests' modules, and connect this process to it."""
    settings = SLOW_START | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    settings["RAY_memory_monitor_refresh_ms"] = "0"  # or it kills workers where other programs fill the memory
    settings["RAY_worker_niceness"] = "3"  # or 15, with which they starve beside other tests
    before = {name: os.environ.get(name) for name in settings}
    handler = signal.getsignal(signal.SIGTERM)
    os.environ |= settings
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    try:
        cluster.add_node(**SMALL)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        signal.signal(signal.SIGTERM, handler)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def open_fatal(once: Path | None) -> Any:
    """Return an encoder that kills its process: once, or each time it reads the text "fatal"."""

    def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> np.ndarray:
        if once is not None and not once.exists() and rows[0].id != "d0":
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if once is None and any(row.text == "fatal" for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        return corpus_folder.encode(rows, on_rows)

    return encode


def open_slow(folder: Path) -> Any:
    """Return an encoder that takes 0.2 s for a task, and notes in a folder which node has encoded."""
    import ray

    node = ray.get_runtime_context().get_node_id()

    def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> np.ndarray:
        time.sleep(0.2)
        (folder / node).touch()
        return corpus_folder.encode(rows, on_rows)

    return encode


def open_strange() -> Any:
    """Return an encoder with embeddings that are not finite, for the texts "strange"."""

    def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> np.ndarray:
        found = corpus_folder.encode(rows, on_rows)
        found[[row.text == "strange" for row in rows]] = np.nan
        return found

    return encode


def open_nothing() -> Any:
    raise ModelError("no such model", hint="give another")


def open_fatal_jobs(folder: Path) -> Any:
    """Return what runs a job: the first one kills its worker once, the second one each time."""

    def run(job: Any, report: Any) -> None:
        tries = folder / f"{job.key}.tries"
        tries.write_text((tries.read_text() if tries.exists() else "") + "x")
        report(1, 2, "half")
        if job.key == "second" or tries.read_text() == "x":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(2)

    return run
