"""Neither threads nor the size of the chunks change a number, and bounds of p hold."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolwise.records import CATEGORIES
from poolwise.results import Comparison
from poolwise.stats import compare_runs
from poolwise.stats.core import resampling
from poolwise.stats.core.resampling import generator, num_threads, on_grid
from poolwise.stats.core.signflip import flipped_sums, signflip_test, tail_bound
from property.stats.test_laws import DESIGNS, study


def compare() -> Comparison:
    return compare_runs(study(), reference=DESIGNS[0], num_resamples=500)


@pytest.mark.parametrize(("threads", "cells"), [("2", 2_600_000), ("4", 5_000), ("1", 5_000)])
def test_threads_and_chunks_change_nothing_in_any_category(
    monkeypatch: pytest.MonkeyPatch, threads: str, cells: int
) -> None:
    expected = compare()
    assert {contrast.category for contrast in expected.contrasts} == set(CATEGORIES)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(resampling, "CHUNK_CELLS", cells)
    monkeypatch.setattr(resampling.os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert num_threads() == int(threads)
    assert compare() == expected


def test_more_resamples_begin_with_the_same_ones() -> None:
    sums = np.random.default_rng(0).normal(size=(50, 2))
    few, many = (flipped_sums(sums, number, generator(3)) for number in (100, 1000))
    assert np.array_equal(few, many[:100])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.randoms())
@example([1.1125369292536007e-308], random.Random(0))
@settings(max_examples=100, deadline=None)
def test_sums_on_the_grid_do_not_depend_on_their_order(values: list[float], luck: object) -> None:
    column = on_grid(np.array(values)[:, None], len(values))[:, 0]
    mixed = column.copy()
    luck.shuffle(mixed)  # type: ignore[attr-defined]
    assert sum(column.tolist()) == sum(mixed.tolist())
    assert column == pytest.approx(np.array(values), abs=1e-12 * max(1e-300, np.abs(values).max()))


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=1, max_size=13))
@settings(max_examples=100, deadline=None)
def test_the_bound_is_above_the_p_of_all_arrangements(differences: list[float]) -> None:
    assert tail_bound(np.array(differences)) >= signflip_test(differences).p - 1e-12
