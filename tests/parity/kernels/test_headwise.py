"""Products head by head compared with the plain product: value, every gradient, and tensors kept for the backward."""

import pytest
import torch

from poolwise.kernels.headwise import headwise, plain_headwise

STATES = {"shared": (5, 4), "one a head": (3, 5, 4)}
# Memory layouts of heads' weights: rows of one head together, or columns of all heads adjacent.
ORDERS = {"rows": lambda w: w.unflatten(0, (3, 4)), "columns": lambda w: w.T.unflatten(1, (3, 4)).permute(1, 2, 0)}


def leaves(states, dtype):
    torch.manual_seed(0)
    return [torch.randn(STATES[states]).to(dtype).requires_grad_(), torch.randn(12, 6).to(dtype).requires_grad_()]


def outcome(function, states, order, dtype):
    vectors, weight = leaves(states, dtype)
    value = function(vectors, ORDERS[order](weight))
    (value * torch.linspace(-1, 1, value.numel()).view_as(value)).sum().backward()
    return [value.detach(), vectors.grad, weight.grad]


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_value_and_gradients(states, order, dtype, tolerance):
    fast, slow = (outcome(function, states, order, dtype) for function in (headwise, plain_headwise))
    for one, other in zip(fast, slow, strict=True):
        assert one.dtype == other.dtype == dtype
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("order", ORDERS)
def test_under_autocast_it_is_as_near_to_fp32_as_the_plain_one(states, order):
    exact = outcome(plain_headwise, states, order, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast, slow = (outcome(function, states, order, torch.float32) for function in (headwise, plain_headwise))
    for one, other, true in zip(fast, slow, exact, strict=True):
        assert one.dtype == other.dtype
        assert (one - true).norm() < 1.5 * (other - true).norm() + 1e-3 * true.norm()
    assert fast[0].dtype == torch.bfloat16


def keeps_narrow_weights(function):
    kept = []
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append((x.dtype, x.numel())) or x, lambda x: x),
    ):
        states, weight = leaves("shared", torch.float32)
        function(states, ORDERS["rows"](weight))
    return (torch.bfloat16, weight.numel()) in kept


def test_no_narrow_weights_are_kept_for_the_backward():
    assert keeps_narrow_weights(plain_headwise)
    assert not keeps_narrow_weights(headwise)


def test_only_gradients_that_are_asked_for_are_taken():
    states, weight = leaves("shared", torch.float32)
    headwise(states.detach(), ORDERS["rows"](weight)).sum().backward()
    assert weight.grad is not None
    headwise(states, ORDERS["rows"](weight.detach())).sum().backward()
    assert states.grad is not None
