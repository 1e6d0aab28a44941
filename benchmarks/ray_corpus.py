"""Encoding a corpus on Ray: one worker against the local engine, and two workers against one.

python benchmarks/ray_corpus.py [--texts 2000] [--base poolwise/nano] [--repeats 3]

The cluster has two nodes of one CPU each, on this machine, so it needs two free cores, and the driver takes its part of
them. Each ratio is one of rates in the second half of a run, when all workers have loaded the model: starting them
takes seconds, whatever the size of the corpus. The driver alone, with embeddings that cost nothing, says how many rows
per second it can read, check and write for all workers together.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _measure import record
from corpus import write_texts

from poolwise.jobs.ray_cluster import SLOW_START

SHARD_ROWS, MOST_WORDS = 32, 80
WIDTH = 256
OVERHEAD, SCALING = 0.9, 1.5
"""What is promised: of the local engine's rate with one worker, and of one worker's rate with two."""


def rate_of(run: Callable[[Callable[[Any], None]], object], num_texts: int) -> float:
    """Return the texts per second of a run in its second half.

    Args:
        run: encodes the corpus, and calls its argument with the progress.
    """
    points: list[tuple[float, int]] = []
    run(lambda progress: points.append((time.perf_counter(), progress.num_done)))
    half = [(at, done) for at, done in points if done >= num_texts / 2]
    (first, before), (last, after) = half[0], half[-1]
    return (after - before) / (last - first)


def driver_rate(source: Path, out: Path, num_texts: int) -> float:
    """Return the rows per second that are read, checked and written, with embeddings that cost nothing."""
    from poolwise.corpus.corpus import find_tables
    from poolwise.corpus.engines import InThisProcess, ShardWriter
    from poolwise.corpus.manifest import Manifest, ModelFingerprint, Output, save_manifest
    from poolwise.corpus.pace import Pace
    from poolwise.corpus.rows import Columns, Row
    from poolwise.corpus.update import Update

    fields = dict.fromkeys(("name", "weights", "tokenizer", "attention", "pooling", "prompt", "precision"), "")
    model = ModelFingerprint(**fields, max_tokens=None)
    output = Output(dim=WIDTH)
    out.mkdir()
    save_manifest(Manifest(model=model, fingerprint=model.fingerprint, output=output), out)

    def encode(rows: Sequence[Row], on_rows: Callable[[int], None]) -> np.ndarray:
        return np.ones((len(rows), WIDTH), dtype=np.float32)

    start = time.perf_counter()
    update = Update(out, find_tables([str(source)], "train", out), Columns(), shard_rows=8192)
    update.run(InThisProcess(encode, ShardWriter(out, output)), update.new_rows(), Pace(None, lambda _: None))
    update.close()
    return num_texts / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--driver-texts", type=int, default=100_000)
    parser.add_argument("--base", default="poolwise/nano")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()

    import os

    os.environ |= SLOW_START | {"RAY_USAGE_STATS_ENABLED": "0"} | dict(os.environ)
    import ray
    import torch
    from ray.cluster_utils import Cluster

    import poolwise
    from poolwise.corpus import CorpusConfig, encode_corpus, load_manifest

    torch.set_num_threads(1)  # as each worker has
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = driver_rate(
            write_texts(folder / "many.jsonl", asked.driver_texts), folder / "alone", asked.driver_texts
        )
        print(f"the driver alone: {alone:,.0f} rows/s of {WIDTH} numbers, {asked.driver_texts:,} rows", flush=True)
        poolwise.build_model("mean+causal", asked.base).save(str(folder / "model"))
        source = write_texts(folder / "corpus.jsonl", asked.texts, MOST_WORDS)
        runs = iter(range(10**6))

        def rate(engine: str, processes: int) -> float:
            out = folder / f"out{next(runs)}"
            config = CorpusConfig(engine=engine, processes=processes, shard_rows=SHARD_ROWS, device="cpu")  # type: ignore[arg-type]
            found = rate_of(
                lambda tell: encode_corpus(str(folder / "model"), [str(source)], out, config, tell), asked.texts
            )
            shards.append(load_manifest(out).shards)
            print(f"{engine}, {processes} workers: {found:,.0f} texts/s", flush=True)
            return found

        shards: list[Any] = []
        cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        try:
            cluster.add_node(**small)
            ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
            rates = [(rate("local", 1), rate("ray", 1), rate("ray", 2)) for _ in range(asked.repeats)]
        finally:
            ray.shutdown()
            cluster.shutdown()
        assert all(found == shards[0] for found in shards), "the engines' shards differ"
    settings = {
        "base": asked.base,
        "texts": asked.texts,
        "most_words": MOST_WORDS,
        "rates": rates,
        "driver_rows_per_second": alone,
    }
    record(
        "encode on 1 ray worker over the local engine", [one / local for local, one, _ in rates], OVERHEAD, **settings
    )
    record("encode on 2 ray workers over 1", [two / one for _, one, two in rates], SCALING, **settings)


if __name__ == "__main__":
    main()
