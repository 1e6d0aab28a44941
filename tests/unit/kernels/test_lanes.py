"""Threads of lanes: a share for each, and none lost for others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from poolwise.kernels.lanes import as_lane, num_lanes


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_a_lane_has_its_share_of_the_threads_and_gives_it_back() -> None:
    with as_lane(2):
        assert torch.get_num_threads() == 2
    with as_lane(8):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_thread_that_starts_while_a_lane_computes_counts_all_lanes() -> None:
    found: list[int] = []
    with as_lane(2):
        thread = threading.Thread(target=lambda: found.append(num_lanes(torch.device("cpu"))))
        thread.start()
        thread.join()
    assert found == [4]
