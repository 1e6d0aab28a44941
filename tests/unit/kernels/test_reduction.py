"""Token reductions with answers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from poolwise.kernels.reduction import (
    last_token,
    mean_tokens,
    normalise,
    reduce_tokens,
    weighted_mean_tokens,
    without_first,
)

# Two texts of width 1: tokens 10, 20, 40 with padding (99) on the left, and token 7 with padding on the right.
HIDDEN = torch.tensor([[[99.0], [10.0], [20.0], [40.0]], [[7.0], [99.0], [99.0], [99.0]]])
MASK = torch.tensor([[False, True, True, True], [True, False, False, False]])


@pytest.mark.parametrize(
    ("reduce", "wanted"),
    [
        (last_token, [40.0, 7.0]),
        (mean_tokens, [70 / 3, 7.0]),
        # (1 * 10 + 2 * 20 + 3 * 40) / 6
        (weighted_mean_tokens, [170 / 6, 7.0]),
    ],
)
def test_reduction(reduce, wanted):
    assert reduce(HIDDEN, MASK)[:, 0].tolist() == pytest.approx(wanted)
    assert reduce(HIDDEN.flip(1), MASK.flip(1)).shape == (2, 1)


def test_reduction_of_half_states_is_fp32():
    for reduce in (last_token, mean_tokens, weighted_mean_tokens):
        assert reduce(HIDDEN.bfloat16(), MASK).dtype == torch.float32
        assert reduce(HIDDEN.double(), MASK).dtype == torch.float64


def test_reduce_tokens_takes_what_it_is_told():
    assert reduce_tokens(HIDDEN, MASK, "last")[0].item() == 40
    assert reduce_tokens(HIDDEN, MASK, "mean")[0].item() == pytest.approx(70 / 3)


def test_normalise_has_mean_zero_and_variance_one():
    assert normalise(torch.tensor([[1.0, 3.0]])).tolist()[0] == pytest.approx([-1, 1], abs=1e-4)


def test_the_first_token_is_left_out_unless_it_is_the_only_one():
    assert without_first(MASK).tolist() == [[False, False, True, True], [True, False, False, False]]
