"""Kernels of the addition and norm: a forward and a backward pass, each of which reads and writes every tensor once.

A tile has all channels of some tokens. Programs of the backward pass take several tiles, so that their parts of the
weight's gradient are few.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.triton_elementwise import inverse_rms, rms_gradient


@triton.jit
def position(first, N, DIM: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr):
    """Return the tokens [BT, 1] from ``first`` on, the channels [1, BD], and the mask of those that exist."""
    t, d = first + tl.arange(0, BT)[:, None], tl.arange(0, BD)[None, :]
    return t.to(tl.int64), d, (t < N) & (d < DIM)


@triton.jit(do_not_specialize=["N"])
def forward(
    x, delta, weight, total, y,
    N, x_stride, delta_stride, eps,
    DIM: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Compute total and y [N, DIM] for BT tokens; y is the norm of what is stored in total."""
    t, d, inside = position(tl.program_id(0) * BT, N, DIM, BT, BD)
    given = tl.load(x + t * x_stride + d, mask=inside, other=0.0).to(tl.float32)
    given += tl.load(delta + t * delta_stride + d, mask=inside, other=0.0).to(tl.float32)
    stored = given.to(total.dtype.element_ty)
    tl.store(total + t * DIM + d, stored, mask=inside)
    given = stored.to(tl.float32)
    gain = tl.load(weight + d, mask=d < DIM, other=0.0).to(tl.float32)
    tl.store(y + t * DIM + d, (given * inverse_rms(given, eps, DIM) * gain).to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["N"])
def backward(
    dtotal, dy, total, weight, dx, ddelta, dweight,
    N, dtotal_stride, dy_stride, eps,
    DIM: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, HAS_DTOTAL: tl.constexpr, HAS_DDELTA: tl.constexpr,
):  # fmt: skip
    """Compute dx and, in another dtype, ddelta of every num_programs-th tile; their part of dweight [programs, DIM]."""
    channels = tl.arange(0, BD)[None, :]
    gain = tl.load(weight + channels, mask=channels < DIM, other=0.0).to(tl.float32)
    part = tl.zeros([BT, BD], tl.float32)
    for first in range(tl.program_id(0) * BT, N, tl.num_programs(0) * BT):
        t, d, inside = position(first, N, DIM, BT, BD)
        given = tl.load(total + t * DIM + d, mask=inside, other=0.0).to(tl.float32)
        of_y = tl.load(dy + t * dy_stride + d, mask=inside, other=0.0).to(tl.float32)
        if HAS_DTOTAL:
            of_total = tl.load(dtotal + t * dtotal_stride + d, mask=inside, other=0.0).to(tl.float32)
        scale = inverse_rms(given, eps, DIM)
        u, du = given * scale, of_y * gain
        gradient = rms_gradient(u, du, tl.sum(du * u, axis=-1, keep_dims=True), scale, DIM)
        if HAS_DTOTAL:
            gradient += of_total
        tl.store(dx + t * DIM + d, gradient.to(dx.dtype.element_ty), mask=inside)
        if HAS_DDELTA:
            tl.store(ddelta + t * DIM + d, gradient.to(ddelta.dtype.element_ty), mask=inside)
        part += of_y * u
    d = tl.arange(0, BD)
    tl.store(dweight + tl.program_id(0).to(tl.int64) * DIM + d, tl.sum(part, axis=0), mask=d < DIM)
