"""Encoding on a Ray cluster of two nodes: the folder of the local engine, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ray_nodes
from command_line import POOLWISE, poolwise
from corpus_folder import DIM, encode, encode_folder, open_encode, rejected, require_whole, stored, write_jsonl
from poolwise import build_model
from poolwise.corpus import CorpusConfig, encode_corpus
from poolwise.corpus.engines import Engine, Results, ShardTask, ShardWriter
from poolwise.corpus.manifest import Output, load_manifest
from poolwise.corpus.opened import open_model, open_same
from poolwise.corpus.ray_engine import DEPTH, OnRay
from poolwise.errors import ConfigError, ModelError
from poolwise.jobs import ray_pool
from poolwise.jobs.ray_cluster import Cluster, Share

TEXTS = {f"d{number}": f"text {number}" for number in range(40)}
TWO = Share(2, 1, 0)
SERVER = """
import sys, time, ray
from ray.util.client.server.server import serve
ray.init(sys.argv[1], log_to_driver=False)
serving = serve("127.0.0.1", int(sys.argv[2]))
print("serving", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with ray_nodes.two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "run"
    build_model("mean+causal", "poolwise/nano").save(str(folder))
    return str(folder)


def on_ray(out: Path, opened: Any = open_encode, share: Share = TWO) -> OnRay:
    return OnRay(opened, ShardWriter(out, Output(dim=DIM)), Cluster("tests"), share)


def corpus(folder: Path, count: int) -> Path:
    texts = {f"d{number}": f"text {number} " + "of many words " * (number % 30) for number in range(count)}
    return write_jsonl(folder / "corpus.jsonl", texts)


@pytest.mark.slow
def test_the_shards_are_those_of_the_local_engine(nodes: Any, model: str, tmp_path: Path) -> None:
    source = [str(corpus(tmp_path, 200))]
    for out, engine in (("local", "local"), ("ray", "ray")):
        config = CorpusConfig(engine=engine, shard_rows=32, dtype="float16")  # type: ignore[arg-type]
        encode_corpus(model, source, tmp_path / out, config)
    local, ray = load_manifest(tmp_path / "local"), load_manifest(tmp_path / "ray")
    assert len(local.shards) == 7
    assert ray == local  # names, counts and checksums of all files


@pytest.mark.slow
def test_tasks_are_taken_no_faster_than_they_are_finished(nodes: Any, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "c.jsonl", TEXTS)
    counts: list[int] = []

    class Counting(OnRay):
        def run(self, tasks: Iterator[ShardTask], on_rows: Any) -> Results:
            taken = 0

            def counted() -> Iterator[ShardTask]:
                nonlocal taken
                for task in tasks:
                    taken += 1
                    yield task

            for done, result in enumerate(super().run(counted(), on_rows)):
                counts.append(taken - done)
                yield result

    out, notes = tmp_path / "out", tmp_path / "nodes"
    notes.mkdir()
    engine: Engine = Counting(
        partial(ray_nodes.open_slow, notes), ShardWriter(out, Output(dim=DIM)), Cluster("tests"), TWO
    )
    encode_folder(out, [source], engine=engine, shard_rows=2)
    require_whole(out, TEXTS)
    # Beside the tasks of the workers, one waits in the thread that reads, and one is being made there.
    assert len(counts) == 20 and max(counts) <= 2 * DEPTH + 2
    assert len(list(notes.iterdir())) == 2  # both nodes have encoded


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    nodes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, out = write_jsonl(tmp_path / "c.jsonl", TEXTS), tmp_path / "out"
    opened = partial(ray_nodes.open_fatal, tmp_path / "once")
    _, done = encode_folder(out, [source], engine=on_ray(out, opened))
    assert (tmp_path / "once").exists()
    assert "a worker was lost, and its work is done again" in caplog.text
    require_whole(out, TEXTS)
    assert done.num_encoded == 40


@pytest.mark.slow
def test_a_node_that_is_removed_loses_and_doubles_nothing(nodes: Any, tmp_path: Path) -> None:
    third = nodes.add_node(**ray_nodes.SMALL)
    removed: list[str] = []
    out, notes = tmp_path / "out", tmp_path / "nodes"
    notes.mkdir()

    def remove(progress: Any) -> None:
        if not removed and (notes / third.node_id).exists():
            nodes.remove_node(third, allow_graceful=False)
            removed.append(third.node_id)

    texts = {f"d{number}": f"text {number}" for number in range(120)}
    source = write_jsonl(tmp_path / "c.jsonl", texts)
    engine = on_ray(out, partial(ray_nodes.open_slow, notes), Share(3, 1, 0))
    encode_folder(out, [source], engine=engine, shard_rows=2, on_progress=remove)
    assert removed
    require_whole(out, texts)


@pytest.mark.slow
def test_rows_that_kill_every_worker_are_named(nodes: Any, tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "c.jsonl", TEXTS | {"d9": "fatal"}), tmp_path / "out"
    with pytest.raises(
        ModelError, match=r"3 workers were lost with the same 4 rows, from 'd8' on: .*lower --shard-rows"
    ):
        encode_folder(out, [source], engine=on_ray(out, partial(ray_nodes.open_fatal, None)))
    # What was finished is kept, and another engine goes on.
    _, done = encode_folder(out, [source])
    require_whole(out, TEXTS | {"d9": "fatal"})
    assert 0 < done.num_known < 40


@pytest.mark.slow
def test_a_run_of_the_local_engine_is_finished_on_ray(nodes: Any, tmp_path: Path) -> None:
    texts, out, calls = TEXTS | {"d33": "strange"}, tmp_path / "out", [0]

    def interrupted(rows: Any, on_rows: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return encode(rows, on_rows)

    source = write_jsonl(tmp_path / "c.jsonl", texts)
    with pytest.raises(KeyboardInterrupt):
        encode_folder(out, [source], encode=interrupted)
    manifest, done = encode_folder(out, [source], engine=on_ray(out, ray_nodes.open_strange))
    assert done.num_known > 0 and done.num_known + done.num_encoded == 39
    assert [(row["id"], row["reason"]) for row in rejected(out)] == [("d33", "the embedding is not finite")]
    assert {key for key, _ in stored(out)} == texts.keys() - {"d33"}
    assert [shard.number for shard in manifest.shards] == list(range(10))


@pytest.mark.slow
def test_errors_of_a_node_name_it(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = write_jsonl(tmp_path / "c.jsonl", TEXTS), tmp_path / "out"
    with pytest.raises(ModelError, match=r"^node [\d.]+: no such model; give another$"):
        encode_folder(out, [source], engine=on_ray(out, ray_nodes.open_nothing))
    monkeypatch.setattr(ray_pool, "START_SECONDS", 2.0)
    with pytest.raises(ConfigError, match=r"had no room for a worker in 2 s: it has 2 CPUs.*1 worker with 64 CPUs"):
        encode_folder(out, [source], engine=on_ray(out, share=Share(1, 64, 0)))


@pytest.mark.slow
def test_a_driver_that_is_killed_resumes(nodes: Any, model: str, tmp_path: Path) -> None:
    corpus(tmp_path, 600)
    asked = ["encode", model, "corpus.jsonl", "--shard-rows", "10", "--device", "cpu"]
    on_cluster = ["--out", "ray", "--engine", "ray", "--ray-address", nodes.address]
    running = subprocess.Popen(
        [*POOLWISE, *asked, *on_cluster], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list((tmp_path / "ray" / "work").glob("*.json")):
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    done = json.loads(poolwise(*asked, *on_cluster, "--json", cwd=tmp_path).stdout)
    assert done["rows"] == 600 and 0 < done["kept"] < 600
    poolwise(*asked, "--out", "local", cwd=tmp_path)
    local, ray = load_manifest(tmp_path / "local"), load_manifest(tmp_path / "ray")
    assert ray == local


@pytest.mark.slow
def test_a_cluster_is_reached_from_outside(nodes: Any, model: str, tmp_path: Path) -> None:
    corpus(tmp_path, 20)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, nodes.address, str(port)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"serving\n"
        asked = ["encode", model, "corpus.jsonl", "--out", "out", "--engine", "ray", "--processes", "1", "--json"]
        done = json.loads(poolwise(*asked, "--ray-address", f"ray://127.0.0.1:{port}", cwd=tmp_path).stdout)
    finally:
        server.kill()
    assert done["rows"] == 20


def test_a_node_with_another_model_is_refused(model: str) -> None:
    config = CorpusConfig(precision="fp32")
    wanted = open_model(model, config).fingerprint
    open_same(model, config, replace_name(wanted))
    other = wanted.model_copy(update={"precision": "bf16"})
    with pytest.raises(ModelError, match=r"not that of the command: precision 'fp32', there 'bf16'; .*--precision"):
        open_same(model, config, other)


def replace_name(fingerprint: Any) -> Any:
    return fingerprint.model_copy(update={"name": "elsewhere"})


def test_options_of_the_engine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--ray-address auto without --engine ray"):
        CorpusConfig(ray_address="auto")
    with pytest.raises(ConfigError, match=r"--engine spark; wanted local or ray"):
        CorpusConfig(engine="spark")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"--device cuda:1 with --engine ray"):
        CorpusConfig(engine="ray", device="cuda:1")
    with pytest.raises(ConfigError, match="with a loaded model"):
        encode_corpus(object(), [], tmp_path, CorpusConfig(engine="ray"))  # type: ignore[arg-type]
