"""How much longer a training step takes while one other process computes: at most 2.2 times on two cores.

python benchmarks/busy.py            with the policy that poolwise sets: waiting OpenMP threads sleep
python benchmarks/busy.py active     with spinning threads, for comparison; prints and records nothing

Each repeat is a process of its own, since OpenMP reads its policy when it starts.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT = 2.2
REPEATS = 5
STEPS = 4
"""Of a repeat; the first is not counted."""

_TRAINING = """
import sys, time
import poolwise  # sets the policy, unless the environment does
import torch
from poolwise.models import build_model

model = build_model("mean+causal", sys.argv[1], max_tokens=64).train()
texts = [f"text number {n} about the weather in the north and the price of corn" for n in range(16)]
features = model.preprocess(texts)
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    model(dict(features))["sentence_embedding"].sum().backward()
    print(time.perf_counter() - start)
"""


def step_seconds(base: str, policy: str | None) -> float:
    """Return the median seconds of a step in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {"OMP_WAIT_POLICY": policy} if policy else {}
    command = [sys.executable, "-c", _TRAINING, base, str(STEPS)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return statistics.median(map(float, found.stdout.split()[1:]))


def _compute() -> None:
    while True:
        sum(number * number for number in range(100_000))


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Have another process use a core inside the block."""
    process = multiprocessing.get_context("spawn").Process(target=_compute, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def main(policy: str | None) -> None:
    from _measure import record
    from _peers import save_base

    with tempfile.TemporaryDirectory() as folder:
        base = save_base(Path(folder) / "110M", "110M")
        slower = []
        for _ in range(REPEATS):
            alone = step_seconds(base, policy)
            with busy_neighbour():
                slower.append(step_seconds(base, policy) / alone)
            print(f"alone {alone:.2f} s, beside a busy process {slower[-1]:.2f} times as long", flush=True)
    if policy is None:
        record("limit over a step beside a busy process", [LIMIT / times for times in slower], target=1.0)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
