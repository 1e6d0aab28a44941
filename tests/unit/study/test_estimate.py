"""Estimates of designs that let the base read more than the text."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from poolwise.config import build_recipe
from poolwise.jobs import Job
from poolwise.study import adapt_estimate, estimate
from poolwise.study.estimate import estimate_jobs

SPEED = estimate._Speed(
    train_texts_per_second=50.0,
    eval_texts_per_second=100.0,
    train_tokens_per_text=8.0,
    eval_tokens_per_text=16.0,
    num_eval_texts=400,
    num_dev_texts=0,
    num_parameters=10,
    num_layers=2,
    hidden_size=2**20,
)


def found(monkeypatch, *designs, gpus=(), **train):
    """Return the estimate of training and evaluating some designs at a known speed."""
    monkeypatch.setattr(adapt_estimate, "visible_gpus", lambda: list(gpus))
    monkeypatch.setattr(estimate, "_measure", lambda recipe, inputs: SPEED)
    tree = {"name": "toy", "base": "b", "designs": list(designs), "reference": designs[0], "tasks": ["t"]}
    recipe = build_recipe(
        tree | {"data": {"train": ["x"]}, "train": {"steps": 2, "batch_size": 4, "max_tokens": 32} | train}
    )
    jobs = [Job(kind, name, 0, f"{kind}-{name}", "run", name) for name in designs for kind in ("train", "eval")]
    return estimate_jobs(jobs, recipe, SimpleNamespace(tasks=[], base="b", hashes=SimpleNamespace(base_dtype="fp32")))


@pytest.mark.parametrize(
    ("design", "train", "evaluation"),
    [
        ("mean(echo=true)+causal", 2.0, 2.0),
        ("soft_tokens(count=4)+causal", 1.5, 1.25),
        # Of 8 and of 16 tokens, one is EOS; no landmark is put directly before it.
        ("landmark(every=2)+causal", 11 / 8, 23 / 16),
        ("pma+causal", 1.0, 1.0),
    ],
)
def test_what_the_base_reads_beside_the_text_costs_time(monkeypatch, design, train, evaluation):
    seconds = list(found(monkeypatch, "last+causal", design).seconds.values())
    assert seconds[2] / seconds[0] == pytest.approx(train)
    assert (seconds[1], seconds[3]) == pytest.approx((4.0, 4.0 * evaluation))


def test_an_echo_needs_twice_the_memory_for_activations(monkeypatch):
    fixed = estimate.LIBRARIES_GIB
    once, twice = (found(monkeypatch, "last+causal", f"mean{o}+causal").peak_memory_gib for o in ("", "(echo=true)"))
    assert twice - fixed == pytest.approx(2 * (once - fixed), rel=1e-3)


@pytest.mark.parametrize(("gpus", "share"), [(["0", "1", "2"], 3.0), ([], 1.0)])
def test_processes_share_a_training_but_not_an_evaluation(monkeypatch, gpus, share):
    rows = {"batch_size": 12, "mini_batch_size": 12}
    alone, shared = (found(monkeypatch, "last+causal", gpus=gpus, processes=n, **rows) for n in (1, 3))
    (train, evaluation), (own, same) = (list(guess.seconds.values()) for guess in (alone, shared))
    assert train == pytest.approx(share * own)
    assert evaluation == same == pytest.approx(4.0)
    # A process keeps the activations of a third of the rows, on a CPU too.
    fixed = estimate.LIBRARIES_GIB
    assert alone.peak_memory_gib - fixed == pytest.approx(3 * (shared.peak_memory_gib - fixed), rel=1e-3)


def test_shared_out_weights_are_a_part_of_each_process(monkeypatch):
    big = replace(SPEED, num_parameters=8 * 2**30, num_layers=64, hidden_size=1)
    fixed, found_for = estimate.LIBRARIES_GIB, {}
    monkeypatch.setitem(globals(), "SPEED", big)
    for shard in (False, True):
        found_for[shard] = found(monkeypatch, "last+causal", processes=4, batch_size=4, shard=shard, method="full")
    assert found_for[False].peak_memory_gib - fixed == pytest.approx(16 * 8, rel=1e-3)
    # A quarter of them, and two whole layers in fp32.
    assert found_for[True].peak_memory_gib - fixed == pytest.approx(16 * 8 / 4 + 2 * 4 * 8 / 64, rel=1e-3)
