"""A server under ten times the load that it can carry, and what rude clients do to it.

python benchmarks/load.py [--minutes 10] [--times 10] [--idle 10000] [--base poolwise/nano]

1. Capacity: texts a second with 64 clients that each wait for their answers.
2. Load: requests arrive at ``--times`` the capacity for ``--minutes``, whatever the server answers. Embeddings that
   come back are compared with those of ``model.encode``.
3. Rude clients: cancelled requests, huge bodies, bodies that are no JSON or no UTF-8, heads and bodies that come in
   single bytes, answers that nobody reads, and ``--idle`` connections that say nothing. Meanwhile a polite client asks.

It prints a table of promises and exits with 1 where one is broken. Server and clients share this machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _measure import in_own_process, record
from _rude_clients import rude
from _serving import (
    Connections,
    Promises,
    allow_connections,
    make_texts,
    memory_of,
    percentiles,
    queue_of,
    requests_of,
    served,
)

PER_REQUEST = 8
NUM_TEXTS = 1024
QUEUE_TOKENS = 16_384
"""Of the server: at its capacity they are read in a few seconds."""
MOST_CONNECTIONS = 4000
GROWTH = 0.05
"""Most growth of the server's memory, from the second quarter of the load to the last."""
TOLERANCE = {"fp32": 1e-5, "bf16": 3e-2}
"""Of the numbers of an embedding, by the precision of products; docs/how-to/serve.md says why they are not equal."""
SLACK = 3.0
"""How many times as long as a full queue takes an answer may take: clients keep the cores busy too."""
UNSENT = "not sent: too many connections"


@dataclass
class Tally:
    """What became of requests: statuses, latencies of those that were answered with 200, and the worst difference."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    worst: float = 0.0
    num_compared: int = 0
    seconds: float = 0.0


def check(body: bytes, wanted: np.ndarray, tally: Tally) -> None:
    """Compare the embeddings of an answer with those of the library."""
    rows = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in json.loads(body)["data"]]
    tally.worst = max(tally.worst, float(np.abs(np.array(rows) - wanted).max()))
    tally.num_compared += len(rows)


def arrive(url: str, texts: Sequence[str], vectors: np.ndarray, rate: float, seconds: float) -> Tally:
    """Let requests arrive at a rate for some seconds, whatever becomes of them, then wait for those that are open."""
    requests = requests_of(url, "model", texts, PER_REQUEST)
    tally = Tally()

    async def one(connections: Connections, number: int) -> None:
        start = time.perf_counter()
        try:
            status, body = await connections.ask(requests[number])
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.statuses[type(error).__name__] += 1
            return
        taken = time.perf_counter() - start
        tally.statuses[str(status)] += 1
        if status == 200:
            tally.latencies.append(taken)
            check(body, vectors[number * PER_REQUEST : (number + 1) * PER_REQUEST], tally)
        else:
            tally.refusals.append(taken)

    async def run() -> None:
        connections = Connections(url)
        waiting: set[asyncio.Task[None]] = set()
        start = time.perf_counter()
        number = 0
        while (now := time.perf_counter() - start) < seconds:
            while number < now * rate:
                number += 1
                if len(waiting) >= MOST_CONNECTIONS:
                    tally.statuses[UNSENT] += 1
                    continue
                task = asyncio.create_task(one(connections, number % len(requests)))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            await asyncio.sleep(0.005)
        tally.seconds = time.perf_counter() - start
        if waiting:
            await asyncio.wait(waiting, timeout=120)
        connections.close()

    allow_connections()
    asyncio.run(run())
    return tally


def wait_in_turn(url: str, texts: Sequence[str], vectors: np.ndarray, clients: int, seconds: float) -> Tally:
    """Let so many clients ask one request after the other for some seconds."""
    requests = requests_of(url, "model", texts, PER_REQUEST)
    tally = Tally()

    async def client(connections: Connections, first: int, end: float) -> None:
        number = first
        while time.perf_counter() < end:
            number = (number + clients) % len(requests)
            start = time.perf_counter()
            status, body = await connections.ask(requests[number])
            tally.statuses[str(status)] += 1
            tally.latencies.append(time.perf_counter() - start)
            if status == 200:
                check(body, vectors[number * PER_REQUEST : (number + 1) * PER_REQUEST], tally)

    async def run() -> None:
        connections = Connections(url)
        start = time.perf_counter()
        await asyncio.gather(*(client(connections, place, start + seconds) for place in range(clients)))
        tally.seconds = time.perf_counter() - start
        connections.close()

    asyncio.run(run())
    return tally


class Watch:
    """Measures the server's memory once a second, in a thread of this process."""

    def __init__(self, process: int) -> None:
        self.process, self.sizes = process, [memory_of(process)]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(1.0):
            self.sizes.append(memory_of(self.process))

    def stop(self) -> list[float]:
        """Return all sizes, in MiB."""
        self._end.set()
        self._thread.join()
        return self.sizes


def overload(url: str, process: int, texts: Sequence[str], vectors: np.ndarray, asked: argparse.Namespace) -> Promises:
    """Measure the capacity, then the load, then what is left of it."""
    in_own_process(wait_in_turn, url, texts, vectors, 8, 3.0)  # warms up
    before = in_own_process(wait_in_turn, url, texts, vectors, 64, asked.capacity_seconds)
    capacity = before.statuses["200"] * PER_REQUEST / before.seconds
    alone = percentiles(in_own_process(wait_in_turn, url, texts, vectors, 1, 5.0).latencies)["p50_ms"]
    print(f"capacity: {capacity:.0f} texts a second; one client waits {alone:.0f} ms", flush=True)
    watch = Watch(process)
    load = in_own_process(arrive, url, texts, vectors, asked.times * capacity / PER_REQUEST, 60 * asked.minutes)
    sizes = watch.stop()
    print(f"answers: {dict(load.statuses)}", flush=True)
    kept = Promises()
    _judge_load(load, capacity, asked, kept)
    quarter = max(1, len(sizes) // 4)
    second, last = max(sizes[quarter : 2 * quarter]), max(sizes[-quarter:])
    told = f"{last / second:.3f}x, {last:.0f} MiB"
    kept.keep("memory, last quarter over second", f"<= {1 + GROWTH:g}x", told, last <= (1 + GROWTH) * second)
    after = percentiles(in_own_process(wait_in_turn, url, texts, vectors, 1, 5.0).latencies)["p50_ms"]
    kept.keep(
        "wait of one client after the load, p50", "<= 3x that before", f"{after / alone:.1f}x", after <= 3 * alone
    )
    left = queue_of(url)
    kept.keep("tokens that wait after the load", "0", f"{left:.0f}", left == 0)
    return kept


def _judge_load(load: Tally, capacity: float, asked: argparse.Namespace, kept: Promises) -> None:
    """Add what became of the requests that arrived."""
    unsent = load.statuses[UNSENT]
    total = sum(load.statuses.values())
    offered, done = (count * PER_REQUEST / load.seconds / capacity for count in (total - unsent, load.statuses["200"]))
    least = 0.8 * asked.times
    kept.keep("texts offered over the capacity", f">= {least:g}x", f"{offered:.1f}x", offered >= least)
    kept.keep("texts embedded over the capacity", ">= 0.5x", f"{done:.2f}x", done >= 0.5)
    strange = total - unsent - load.statuses["200"] - load.statuses["429"]
    kept.keep("answers other than 200 and 429", "none", f"{strange}", strange == 0)
    bound = SLACK * (1 + QUEUE_TOKENS / asked.tokens_per_text / capacity)
    for what, waits in (("accepted", load.latencies), ("refused", load.refusals)):
        cuts = percentiles(waits) if len(waits) > 1 else {"p50_ms": 0.0, "p99_ms": 0.0}
        p50, p99 = (cuts[key] / 1000 for key in ("p50_ms", "p99_ms"))
        kept.keep(f"wait of {what} requests, p99", f"<= {bound:.0f} s", f"{p99:.2f} s, p50 {p50:.2f} s", p99 <= bound)
    tolerance = TOLERANCE[asked.precision]
    is_equal = load.worst <= tolerance and load.num_compared > 0
    told = f"{load.worst:.1e} in {load.num_compared:,} embeddings"
    kept.keep("largest difference to the library", f"<= {tolerance:g}", told, is_equal)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="poolwise/nano")
    parser.add_argument("--design", default="mean+causal")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=float, default=10.0, help="load over capacity")
    parser.add_argument("--capacity-seconds", type=float, default=10.0)
    parser.add_argument("--idle", type=int, default=10_000, help="connections that say nothing")
    parser.add_argument("--only", choices=["load", "rude"], help="one part of it")
    asked = parser.parse_args()

    import poolwise

    model = poolwise.build_model(asked.design, asked.base)
    texts = make_texts(NUM_TEXTS, seed=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        model.save(str(folder))
        with served(folder, "--max-queue-tokens", str(QUEUE_TOKENS)) as (url, process):
            info = json.load(urllib.request.urlopen(f"{url.removesuffix('/v1')}/info"))["models"]["model"]
            asked.precision = info["precision"]
            vectors = poolwise.load_model(folder).encode(texts)
            asked.tokens_per_text = sum(map(len, model.tokenizer(texts)["input_ids"])) / len(texts)
            parts = [] if asked.only == "rude" else [overload(url, process, texts, vectors, asked)]
            parts += [] if asked.only == "load" else [rude(url, process, texts, PER_REQUEST, asked.idle)]
    rows = [row for part in parts for row in part.rows]
    broken = [row[0] for row in rows if not row[3]]
    print(f"\n{len(rows) - len(broken)} of {len(rows)} promises kept")
    settings = {"base": asked.base, "design": asked.design, "minutes": asked.minutes, "idle": asked.idle, "rows": rows}
    record(f"load of {asked.times:g} times the capacity, promises kept", [float(not broken)], 1.0, **settings)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
