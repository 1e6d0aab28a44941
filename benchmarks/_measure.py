"""Shared by all benchmarks: paired repeats, a ratio with its spread, and a record of the hardware and versions."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from poolwise.study.provenance import machine, versions

T = TypeVar("T")
RECORDS = Path(__file__).parent / "records"
REPEATS = 5


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one call, on a GPU until its work is done."""
    _synchronise()
    start = time.perf_counter()
    run()
    _synchronise()
    return time.perf_counter() - start


def _synchronise() -> None:
    torch = sys.modules.get("torch")  # what does not use it is not made to wait for its import
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def paired_ratios(
    slow: Callable[[], object], fast: Callable[[], object], repeats: int = REPEATS, warm: bool = True
) -> list[float]:
    """Return slow / fast for each repeat; see ``paired_seconds``."""
    return [long / short for long, short in paired_seconds(slow, fast, repeats, warm)]


def paired_seconds(
    slow: Callable[[], object], fast: Callable[[], object], repeats: int = REPEATS, warm: bool = True
) -> list[tuple[float, float]]:
    """Return the wall times of each repeat, both taken one after the other so that drift hits both.

    Args:
        warm: call both once before; not needed where the check of their results did.
    """
    if warm:
        slow(), fast()  # the first calls set kernels up
    return [(seconds(slow), seconds(fast)) for _ in range(repeats)]


def peak_memory() -> int:
    """Return the most memory this process ever had, in bytes: allocated on a GPU where there is one, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's getrusage starts a child at the peak of its parent
        return next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_own_process(run: Callable[..., T], *arguments: object) -> T:
    """Return what ``run(*arguments)`` gives in a process of its own, which starts with no memory used."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def record(claim: str, ratios: list[float], target: float | None = None, **config: object) -> None:
    """Print the ratio with its spread and write it, with versions and settings, below ``records/`` of this hardware.

    Args:
        target: what we promise; a median below it is printed as missed and kept as such.
    """
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    verdict = "" if target is None else f", {'reached' if middle >= target else 'MISSED'}: {target:g}x"
    print(f"{claim}: {middle:.2f}x (median of {len(ratios)}, {low:.2f} to {high:.2f}){verdict}", flush=True)
    where = machine()
    # One name of a processor covers generations: what it multiplies with tells them apart.
    name = f"{where['processor'].replace('(R)', '').replace(' Processor', '')} {where['instructions']}"
    folder = RECORDS / _slug(name if where["accelerator"] == "none" else where["accelerator"])
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "claim": claim,
        "median": middle,
        "ratios": ratios,
        "target": target,
        "config": config,
        "machine": where,
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    (folder / f"{_slug(claim)}.json").write_text(json.dumps(result, indent=2) + "\n")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-")
