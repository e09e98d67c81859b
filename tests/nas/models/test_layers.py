"""The parts of a block that choose nothing: a convolution that goes on where it was, and SwiGLU."""

import pytest
import torch
import torch.nn.functional as F

from nas.models.layers import NORM_EPS, ShortConvolution, SwiGLU, rms_norm


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8])
def test_a_convolution_after_others_is_that_of_the_whole(cut: int) -> None:
    made, x = ShortConvolution(6, 4).double(), torch.randn(2, 9, 6, dtype=torch.float64)
    whole = made(x)
    first, past = made.after(x[:, :cut], None)
    rest, last = made.after(x[:, cut:], past)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    assert torch.equal(last, F.pad(x, (0, 0, 3, 0))[:, -3:])


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
