"""The memory of a process that studies, encodes and searches in a loop, and of a server that answers meanwhile.

python benchmarks/soak.py [--hours 2]

Every round is a small study with training and evaluation, an encoded corpus, an index, searches, and requests to one
server that lives as long as the soak. Memory is resident memory after the garbage of a round is collected. The first
quarter of the rounds warms up; then the median of the last quarter may be 2% above that of the second.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _measure import record
from _serving import Connections, Promises, make_texts, memory_of, requests_of, served

GROWTH = 0.02
LEAST_ROUNDS = 8
NUM_TEXTS = 1000
CHANGES = [
    *("designs=[last+causal, mean+bidirectional]", "reference=last+causal", "seeds=[0]", "anchors=[]"),
    *("train.steps=4", "train.batch_size=8", "data.max_rows=200", "max_items=30"),
]
RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart.yaml"


def study_and_search(folder: Path, model: object, texts: Sequence[str]) -> None:
    """Run a study, encode a corpus, build its index and search it, all in a folder."""
    import poolwise

    poolwise.run_study(poolwise.load_recipe(RECIPE, CHANGES), folder / "study", workers=1)
    rows = [json.dumps({"_id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    poolwise.encode_corpus(model, folder / "corpus.jsonl", folder / "embeddings", keep_text=True)
    with poolwise.build_index(folder / "embeddings", folder / "index", model=model) as index:
        hits = index.search(list(texts[:50]), k=3)
    # Two texts may be equal in the words that the model reads; nearly every text is its own nearest row.
    assert sum(found[0].id == f"d{number}" for number, found in enumerate(hits)) >= 45


def ask_all(url: str, texts: Sequence[str], vectors: np.ndarray) -> None:
    """Send every text to the server on a few connections, and compare what comes back with the library's."""

    async def run() -> list[np.ndarray]:
        connections = Connections(url)
        waiting = asyncio.Semaphore(16)

        async def one(request: bytes) -> np.ndarray:
            async with waiting:
                status, body = await connections.ask(request)
            assert status == 200, body[:300]
            return np.frombuffer(base64.b64decode(json.loads(body)["data"][0]["embedding"]), "<f4")

        found = await asyncio.gather(*(one(request) for request in requests_of(url, "model", texts, 1)))
        connections.close()
        return found

    assert np.abs(np.array(asyncio.run(run())) - vectors).max() < 3e-2


def judge(what: str, sizes: Sequence[float], kept: Promises) -> None:
    """Add how much the memory of a process grew after the warm-up."""
    quarter = len(sizes) // 4
    second, last = statistics.median(sizes[quarter : 2 * quarter]), statistics.median(sizes[-quarter:])
    told = f"{last / second - 1:+.2%}, {last:.0f} MiB"
    kept.keep(f"growth of {what} over {len(sizes)} rounds", f"<= {GROWTH:.0%}", told, last <= (1 + GROWTH) * second)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=2.0)
    asked = parser.parse_args()

    import poolwise

    model = poolwise.build_model("mean+causal", "poolwise/nano")
    texts = make_texts(NUM_TEXTS, seed=1)
    own, server = [], []
    with tempfile.TemporaryDirectory() as name:
        saved = Path(name) / "model"
        model.save(str(saved))
        vectors = model.encode(texts)
        with served(saved) as (url, process):
            end = time.monotonic() + 3600 * asked.hours
            while time.monotonic() < end:
                start = time.monotonic()
                with tempfile.TemporaryDirectory() as place:
                    study_and_search(Path(place), model, texts)
                ask_all(url, texts, vectors)
                gc.collect()
                own.append(memory_of(os.getpid()))
                server.append(memory_of(process))
                seconds = time.monotonic() - start
                print(f"round {len(own)}: {seconds:.0f} s, {own[-1]:.0f} MiB, server {server[-1]:.0f} MiB", flush=True)
    if len(own) < LEAST_ROUNDS:
        sys.exit(f"{len(own)} rounds say nothing of growth; wanted {LEAST_ROUNDS} at least: give more --hours")
    kept = Promises()
    judge("the process that studies and encodes", own, kept)
    judge("the server", server, kept)
    record("soak, promises kept", [float(kept.are_kept)], 1.0, hours=asked.hours, mebibytes=own, server=server)
    sys.exit(0 if kept.are_kept else 1)


if __name__ == "__main__":
    main()
