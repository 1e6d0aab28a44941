"""Profile of encoding time by kind of operation: ``SentenceTransformer.encode`` with defaults, and ours.

python benchmarks/profiles.py [nano|110M]

One thread, bf16, mean pooling, the texts of ``benchmarks/encoding.py``. Prints the share of the profiler's self time in
each kind; on a GPU, the kernel time by the operation that launched the kernel.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from _measure import record, seconds
from _peers import DEVICE, save_base, stock_model
from encoding import DTYPES, NUM_TOKENS, fast_model, sample
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "matrix products": ("mm", "addmm", "linear", "matmul"),
    # Batched products and softmax are attention's own: nothing else in these models takes them.
    "attention": ("scaled_dot_product", "flash_attention", "sdpa", "bmm", "softmax"),
    "copies and casts": ("copy_", "to", "_to_copy", "contiguous", "clone", "cat", "index", "stack", "split"),
}
TOKENS = {"nano": 20_000, "110M": 6_000} if DEVICE == "cpu" else {"nano": NUM_TOKENS, "110M": NUM_TOKENS}


def kind_of(operation: str) -> str:
    """Return which kind an operation of torch belongs to."""
    name = operation.removeprefix("aten::").removeprefix("mkldnn::").strip("_")
    for kind, names in KINDS.items():
        if any(name == part.strip("_") or (part in name and len(part) > 8) for part in names):
            return kind
    return "matrix products" if "linear" in name or "mkldnn" in operation else "norms, rotation, gate and the rest"


def shares(run: Callable[[], object]) -> tuple[dict[str, float], float]:
    """Return seconds by kind of operation and the wall time of one call without the profiler."""
    run()
    wall = seconds(run)
    on_gpu = DEVICE == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        seconds(run)
    spent: dict[str, float] = {}
    for event in found.key_averages():
        if on_gpu and not event.key.startswith("aten::"):
            continue  # kernels stand beside the operations that started them
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        spent[kind_of(event.key)] = spent.get(kind_of(event.key), 0.0) + time / 1e6
    return spent, wall


def main(sizes: list[str]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            base = save_base(Path(place) / size, size)
            peer = stock_model(base, "mean+causal", DTYPES["bf16"])
            ours = fast_model(base, "mean", "bf16")
            texts, _ = sample(ours, TOKENS[size])
            before, slow = shares(lambda p=peer, t=texts: p.encode(t))
            after, fast = shares(lambda m=ours, t=texts: m.encode(t))
            for kind in sorted(before | after):
                print(f"  {kind:36s} {before.get(kind, 0):7.2f} s {after.get(kind, 0):7.2f} s")
            record(f"profile {size} mean bf16, one thread", [slow / fast], before=before, after=after)


if __name__ == "__main__":
    main(sys.argv[1:] or ["nano"])
