"""The parts of a block that choose nothing: a convolution that goes on where it was, and SwiGLU."""

import pytest
import torch
import torch.nn.functional as F

from nas.kernels.short_convolution.decode import short_convolution_step
from nas.models.layers import NORM_EPS, ShortConvolution, SwiGLU, rms_norm


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8])
def test_a_convolution_after_others_is_that_of_the_whole(cut: int) -> None:
    made, x = ShortConvolution(6, 4).double(), torch.randn(2, 9, 6, dtype=torch.float64)
    whole = made(x)
    y, past, taps = [made(x[:, :cut])], made.last_inputs(x[:, :cut]), made.convolution.weight.squeeze(1)
    y += [short_convolution_step(x[:, token], past, taps).unsqueeze(1) for token in range(cut, 9)]
    torch.testing.assert_close(torch.cat(y, dim=1), whole)
    assert torch.equal(past, made.last_inputs(x))


def test_a_convolution_is_causal_and_depthwise() -> None:
    made, x = ShortConvolution(6, 4).double(), torch.randn(1, 9, 6, dtype=torch.float64)
    changed = x.clone()
    changed[0, 4, 2] += 1
    moved = (made(changed) - made(x)).abs() > 1e-12
    assert moved.nonzero()[:, 1:].tolist() == [[token, 2] for token in range(4, 8)]


def test_swiglu_is_a_gated_layer() -> None:
    made, x = SwiGLU(6, 10).double(), torch.randn(2, 3, 6, dtype=torch.float64)
    gate, up = made.gate_and_up(x).chunk(2, dim=-1)
    torch.testing.assert_close(made(x), made.down(F.silu(gate) * up))


def test_the_norm_has_one_epsilon() -> None:
    assert rms_norm(6).eps == NORM_EPS


@pytest.mark.parametrize("shape", [(2, 3, 6), (5, 6)])
def test_the_norm_of_one_head_is_the_norm(shape: tuple[int, ...]) -> None:
    norm, x = rms_norm(6), torch.randn(shape, requires_grad=True)
    torch.nn.init.normal_(norm.weight)
    assert torch.equal(norm.in_one_head(x), norm(x))
    wanted = [x, norm.weight]
    of_both = (torch.autograd.grad(y.square().sum(), wanted) for y in (norm.in_one_head(x), norm(x)))
    for own, right in zip(*of_both, strict=True):
        torch.testing.assert_close(own, right)


def test_the_norm_after_a_layer_is_that_of_the_sum() -> None:
    norm, x, delta = rms_norm(6), torch.randn(2, 3, 6), torch.randn(2, 3, 6)
    torch.nn.init.normal_(norm.weight)
    assert all(map(torch.equal, norm.after(x, delta), (x + delta, norm(x + delta))))
    assert all(map(torch.equal, norm.after(x, None), (x, norm(x))))


@pytest.mark.gpu
def test_the_norm_of_the_residual_stream_on_the_gpu() -> None:
    x = torch.randn(4, 8192, 1024, device="cuda", requires_grad=True)
    norm = rms_norm(1024).cuda()
    torch.nn.init.normal_(norm.weight)
    with torch.autocast("cuda", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.bfloat16
    right = torch.nn.functional.rms_norm(x.double(), (1024,), norm.weight.double(), norm.eps)
    dy = torch.randn_like(y)
    assert (y.double() - right).abs().max() <= 2**-8 * right.abs().max()
    for own, exact in zip(
        torch.autograd.grad(y, [x, norm.weight], dy), torch.autograd.grad(right, [x, norm.weight], dy.double()),
        strict=True,
    ):  # fmt: skip
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, exact.float(), rtol=1e-4, atol=1e-4 * exact.abs().max().item())
