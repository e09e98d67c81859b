"""One token of the short convolution: a kernel that convolves, applies SiLU and moves the last inputs by one token."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, disable-error-code="assignment,misc"
# ruff: noqa: RUF005 - Triton supports tuples and their sum, but no unpacking

import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.short_convolution.triton_kernels import correlate, load_taps
from nas.kernels.triton_elementwise import silu
from nas.kernels.triton_support import dense, on_device, operand_dtype

CHANNELS, WARPS = 128, 4
"""Channels of a program, one a thread: a token has little work, so that many programs share it."""


def step(x: Tensor, past: Tensor, weight: Tensor) -> Tensor:
    """Compute a step of `nas.kernels.short_convolution.decode`: update past, return y [B, D]."""
    x = dense(x)
    batch, channels = x.shape
    y = x.new_empty(batch, channels, dtype=operand_dtype(x))
    with on_device(x):
        _step[(batch * triton.cdiv(channels, CHANNELS),)](
            *(x, past, weight.contiguous(), y, channels, x.stride(0)),
            W=weight.shape[1],
            BD=CHANNELS,
            num_warps=WARPS,
        )
    return y


@triton.jit
def _step(x, past, weight, y, D, x_b, W: tl.constexpr, BD: tl.constexpr):
    """Compute BD channels of a sequence; weight is [D, W], and past [W - 1, D] of each sequence."""
    blocks = tl.cdiv(D, BD)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)
    inside, inputs = d < D, ()
    place = past + b * (W - 1) * D + d
    for w in tl.static_range(W - 1):
        inputs = inputs + (tl.load(place + w * D, mask=inside, other=0.0),)
    inputs = inputs + (tl.load(x + b * x_b + d, mask=inside, other=0.0),)
    total = correlate(load_taps(weight, d, inside, W), inputs, W)
    for w in tl.static_range(W - 1):
        tl.store(place + w * D, inputs[w + 1].to(past.dtype.element_ty), mask=inside)
    tl.store(y + b * D + d, silu(total).to(y.dtype.element_ty), mask=inside)
