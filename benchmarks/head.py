"""The trainable head at the paper's size against the published order of operations: time and memory, both passes.

python benchmarks/head.py [fp32|bf16]    bf16 by itself only where it is fast

The reference expands the latents over the batch, normalises and projects them for each text, averages the values of all
heads and only then applies the output projection. Its feed-forward part runs fully on every latent.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from _measure import in_own_process, paired_ratios, peak_memory, record, seconds
from _peers import DEVICE, plain_head, precisions
from torch import Tensor

from poolwise.models.pooling.cross_attention import PAPER_SIZE, CrossAttention

DIM, LAYERS, BATCH = 1024, 28, 8
REPEATS = 3
"""Fewer than elsewhere: in fp32 a pair takes about a minute on two cores, and each pair so far kept the promise."""
SAME = {"fp32": 1e-5, "bf16": 3e-2}
TARGETS = {"fp32": 4.0, "bf16": 2.5}


def reference(head: CrossAttention, states: Tensor) -> Tensor:
    return plain_head(head, states, torch.ones(states.shape[:2], dtype=torch.bool, device=DEVICE))


def poolwise(head: CrossAttention, states: Tensor) -> Tensor:
    return head(states, torch.ones(states.shape[:2], dtype=torch.bool, device=DEVICE))


def build() -> tuple[CrossAttention, Tensor, Tensor]:
    torch.manual_seed(0)
    head = CrossAttention(DIM, PAPER_SIZE, "random").to(DEVICE)
    for weight in head.parameters():
        weight.grad = torch.zeros_like(weight)
    return head, torch.randn(BATCH, LAYERS, DIM).to(DEVICE), torch.randn(BATCH, DIM).to(DEVICE)


def step(form: Any, precision: str, head: CrossAttention, states: Tensor, direction: Tensor) -> Tensor:
    for weight in head.parameters():
        weight.grad.zero_()
    with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=precision == "bf16"):
        vectors = form(head, states)
    (vectors.float() * direction).sum().backward()
    return vectors.detach()


def check(precision: str, head: CrossAttention, states: Tensor, direction: Tensor) -> tuple[float, float]:
    """Return the greatest difference of the two, relative to the reference, over the value and every gradient, and
    how many times as long the reference took.
    """
    outcomes, times = [], []
    for form in (reference, poolwise):
        found: list[Tensor] = []
        times.append(seconds(lambda f=form, v=found: v.append(step(f, precision, head, states, direction))))
        value = found[0]
        outcomes.append([value, *(weight.grad.clone() for weight in head.parameters())])
    worst = max(float((b - a).norm() / a.norm()) for a, b in zip(*outcomes, strict=True))
    assert worst < SAME[precision], f"the two differ by {worst:.1e} in {precision}"
    return worst, times[0] / times[1]


def added_bytes(form_name: str, precision: str) -> int:
    """Return the bytes that one step adds to a process that holds parameters and gradients."""
    head, states, direction = build()
    before = peak_memory()
    step(globals()[form_name], precision, head, states, direction)
    return peak_memory() - before


def main(precisions: list[str]) -> None:
    for precision in precisions:
        head, states, direction = build()
        worst, first = check(precision, head, states, direction)
        ratios = paired_ratios(
            lambda p=precision, h=head, s=states, d=direction: step(reference, p, h, s, d),
            lambda p=precision, h=head, s=states, d=direction: step(poolwise, p, h, s, d),
            repeats=REPEATS - 1,  # the check is the first
            warm=False,
        )
        del head
        slow, fast = (in_own_process(added_bytes, form, precision) for form in ("reference", "poolwise"))
        print(f"memory beyond parameters and gradients, {precision}: {fast / 2**20:.0f} of {slow / 2**20:.0f} MiB")
        record(
            f"head of the paper's size {precision}",
            [first, *ratios],
            target=TARGETS[precision],
            dim=DIM,
            layers=LAYERS,
            batch=BATCH,
            worst_difference=worst,
        )
        record(f"memory of a step of the head {precision}", [slow / fast], target=4.0, bytes=[slow, fast])


if __name__ == "__main__":
    main(precisions(sys.argv[1:]))
