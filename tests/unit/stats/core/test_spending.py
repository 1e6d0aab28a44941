"""Spending of the error rate over looks."""

from __future__ import annotations

import pytest

from poolwise.stats.core.spending import spending


def test_the_shares_add_up_to_one_and_grow_with_the_data() -> None:
    shares = spending(range(2, 7))
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares)
    # Of 6 seeds, the first look has seen a third of the data, and spends a ninth.
    assert shares[0] == pytest.approx((2 / 6) ** 2)
    assert shares[-1] == pytest.approx(1 - (5 / 6) ** 2)


def test_one_look_spends_everything() -> None:
    assert spending([3]) == [1.0]


@pytest.mark.parametrize("sizes", [[], [0, 2], [2, 2], [3, 2]])
def test_sizes_that_do_not_grow_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="looks grow"):
        spending(sizes)
