"""The feed-forward part computed a few texts at a time, compared with the plain one: value and every gradient."""

import pytest
import torch

from poolwise.kernels import gated_mean as module
from poolwise.kernels.gated_mean import gated_mean, plain_gated_mean


def outcome(function, tensors, direction):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    (value * direction).sum().backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("cached", [1, 700, 2**21], ids=["one text", "some texts", "all texts"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_value_and_gradients(cached, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(module, "_CACHED_BYTES", cached)
    torch.manual_seed(0)
    tensors = [torch.randn(5, 3, 4, dtype=dtype), torch.randn(16, 4, dtype=dtype), torch.randn(16, dtype=dtype)]
    direction = torch.randn(5, 8, dtype=dtype)
    pairs = zip(outcome(gated_mean, tensors, direction), outcome(plain_gated_mean, tensors, direction), strict=True)
    for fast, slow in pairs:
        assert (fast - slow).norm() <= tolerance * slow.norm()
    with torch.no_grad():
        torch.testing.assert_close(gated_mean(*tensors), plain_gated_mean(*tensors), rtol=tolerance, atol=tolerance)


def test_under_autocast_it_is_as_near_to_fp32_as_the_plain_one():
    torch.manual_seed(0)
    tensors = [torch.randn(5, 30, 16), torch.randn(64, 16), torch.randn(64)]
    direction = torch.randn(5, 32)
    exact = outcome(plain_gated_mean, tensors, direction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast, slow = (outcome(function, tensors, direction) for function in (gated_mean, plain_gated_mean))
    assert fast[0].dtype == torch.float32
    for one, other, true in zip(fast, slow, exact, strict=True):
        assert (one - true).norm() < 1.5 * (other - true).norm() + 1e-3 * true.norm()
    assert not torch.equal(fast[0], exact[0])
