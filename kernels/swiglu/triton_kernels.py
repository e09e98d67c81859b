"""Kernels of the gated activation: a forward and a backward pass, each of which reads and writes every tensor once.

A program takes some channels of some tokens, in both halves of x. Triton specialises on the argument ``hidden``: where
it is a multiple of 16, the second half and the mask allow accesses of 16 bytes.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.triton_elementwise import silu, silu_and_slope


@triton.jit
def position(N, hidden, BT: tl.constexpr, BD: tl.constexpr):
    """Return this program's tokens [BT, 1], channels [1, BD], and the mask of those that exist [BT, BD]."""
    blocks = tl.cdiv(hidden, BD)
    t = tl.program_id(0) // blocks * BT + tl.arange(0, BT)[:, None]
    d = tl.program_id(0) % blocks * BD + tl.arange(0, BD)[None, :]
    return t.to(tl.int64), d, (t < N) & (d < hidden)


@triton.jit
def load_halves(x, t, d, inside, stride, hidden):
    """Load gate and up in float32, each [BT, BD]."""
    place = x + t * stride + d
    gate, up = tl.load(place, mask=inside, other=0.0), tl.load(place + hidden, mask=inside, other=0.0)
    return gate.to(tl.float32), up.to(tl.float32)


@triton.jit(do_not_specialize=["N"])
def forward(x, y, N, hidden, stride, BT: tl.constexpr, BD: tl.constexpr):
    """Compute y [N, hidden] of x [N, 2 * hidden] for BT tokens and BD channels."""
    t, d, inside = position(N, hidden, BT, BD)
    gate, up = load_halves(x, t, d, inside, stride, hidden)
    tl.store(y + t * hidden + d, (silu(gate) * up).to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["N"])
def backward(dy, x, dx, N, hidden, dy_stride, stride, BT: tl.constexpr, BD: tl.constexpr):
    """Compute dx [N, 2 * hidden] for BT tokens and BD channels of each half."""
    t, d, inside = position(N, hidden, BT, BD)
    gate, up = load_halves(x, t, d, inside, stride, hidden)
    given = tl.load(dy + t * dy_stride + d, mask=inside, other=0.0).to(tl.float32)
    opened, slope = silu_and_slope(gate)
    place = dx + t * (2 * hidden) + d
    tl.store(place, (given * up * slope).to(dx.dtype.element_ty), mask=inside)
    tl.store(place + hidden, (given * opened).to(dx.dtype.element_ty), mask=inside)
