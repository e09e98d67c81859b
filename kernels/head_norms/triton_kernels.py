"""Kernels of both norms of heads: x is read once, forward and backward.

A program takes one group of channels of some tokens: a linear head, which is M softmax heads of DIM channels each.
Without linear heads the group is one softmax head, without softmax heads M is 1.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.triton_elementwise import inverse_rms, rms_gradient

SMALLEST_NORM = tl.constexpr(1e-12)
"""Smallest divisor of l2, as in `torch.nn.functional.normalize`."""


@triton.jit
def group_tile(
    first, group, N, stride, M: tl.constexpr, DIM: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr
):
    """Return offsets and mask [BT, BM, BD] of tokens from ``first`` on, for a group's M heads of DIM channels."""
    t = first + tl.arange(0, BT)[:, None, None]
    m = tl.arange(0, BM)[None, :, None]
    d = tl.arange(0, BD)[None, None, :]
    return t.to(tl.int64) * stride + ((group * M + m) * DIM + d), (t < N) & (m < M) & (d < DIM)


@triton.jit
def inverse_norm(x):
    """Return 1 / max(|x|, SMALLEST_NORM) over the last two dimensions, and whether |x| is larger; [BT, 1, 1]."""
    norm = tl.sqrt(tl.sum(tl.sum(x * x, axis=-1, keep_dims=True), axis=-2, keep_dims=True))
    return 1.0 / tl.maximum(norm, SMALLEST_NORM), norm > SMALLEST_NORM


@triton.jit(do_not_specialize=["N"])
def forward(
    x, weight, l2, rms,
    N, stride, eps,
    GROUPS: tl.constexpr, M: tl.constexpr, DIM: tl.constexpr,
    BT: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, HAS_L2: tl.constexpr, HAS_RMS: tl.constexpr,
):  # fmt: skip
    """Compute l2 and rms [N, GROUPS * M * DIM] of x [N, ...] for BT tokens of one group."""
    pid = tl.program_id(0)
    group, first = pid % GROUPS, pid // GROUPS * BT
    offsets, inside = group_tile(first, group, N, stride, M, DIM, BT, BM, BD)
    given = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
    places, _ = group_tile(first, group, N, GROUPS * M * DIM, M, DIM, BT, BM, BD)
    if HAS_L2:
        scale, _ = inverse_norm(given)
        tl.store(l2 + places, (given * scale).to(l2.dtype.element_ty), mask=inside)
    if HAS_RMS:
        d = tl.arange(0, BD)[None, None, :]
        gain = tl.load(weight + d, mask=d < DIM, other=0.0).to(tl.float32)
        tl.store(rms + places, (given * inverse_rms(given, eps, DIM) * gain).to(rms.dtype.element_ty), mask=inside)


@triton.jit
def load_backward(
    dl2, drms, x, first, group, N, dl2_stride, drms_stride, stride,
    M: tl.constexpr, DIM: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr,
    HAS_L2: tl.constexpr, HAS_RMS: tl.constexpr,
):  # fmt: skip
    """Load x, dl2 and drms, each [BT, BM, BD], at tokens from ``first`` on; x in place of a missing gradient."""
    offsets, inside = group_tile(first, group, N, stride, M, DIM, BT, BM, BD)
    given = tl.load(x + offsets, mask=inside, other=0.0)
    du, dy = given, given
    if HAS_L2:
        offsets, _ = group_tile(first, group, N, dl2_stride, M, DIM, BT, BM, BD)
        du = tl.load(dl2 + offsets, mask=inside, other=0.0)
    if HAS_RMS:
        offsets, _ = group_tile(first, group, N, drms_stride, M, DIM, BT, BM, BD)
        dy = tl.load(drms + offsets, mask=inside, other=0.0)
    return given, du, dy


@triton.jit(do_not_specialize=["N"])
def backward(
    dl2, drms, x, weight, dx, dweight,
    N, dl2_stride, drms_stride, stride, eps,
    GROUPS: tl.constexpr, M: tl.constexpr, DIM: tl.constexpr,
    BT: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, HAS_L2: tl.constexpr, HAS_RMS: tl.constexpr,
):  # fmt: skip
    """Compute dx for every (num_programs / GROUPS)-th tile of a group, and their part of dweight [programs, DIM].

    The next tile is loaded while a tile is processed.
    """
    pid = tl.program_id(0)
    group = pid % GROUPS
    d = tl.arange(0, BD)[None, None, :]
    if HAS_RMS:
        gain = tl.load(weight + d, mask=d < DIM, other=0.0).to(tl.float32)
        total = tl.zeros([BT, BM, BD], tl.float32)
    begin, step = pid // GROUPS * BT, tl.num_programs(0) // GROUPS * BT
    given, du, dy = load_backward(
        dl2, drms, x, begin, group, N, dl2_stride, drms_stride, stride, M, DIM, BT, BM, BD, HAS_L2, HAS_RMS
    )
    for first in range(begin, N, step):
        next_given, next_du, next_dy = load_backward(
            dl2, drms, x, first + step, group, N, dl2_stride, drms_stride, stride, M, DIM, BT, BM, BD, HAS_L2, HAS_RMS
        )
        given = given.to(tl.float32)
        gradient = tl.zeros([BT, BM, BD], tl.float32)
        if HAS_L2:
            du = du.to(tl.float32)
            scale, free = inverse_norm(given)
            u = given * scale
            inner = tl.sum(tl.sum(du * u, axis=-1, keep_dims=True), axis=-2, keep_dims=True)
            gradient += scale * (du - tl.where(free, u * inner, 0.0))
        if HAS_RMS:
            dy = dy.to(tl.float32)
            scale = inverse_rms(given, eps, DIM)
            u = given * scale
            inner = tl.sum(dy * gain * u, axis=-1, keep_dims=True)
            gradient += rms_gradient(u, dy * gain, inner, scale, DIM)
            total += dy * u
        places, inside = group_tile(first, group, N, GROUPS * M * DIM, M, DIM, BT, BM, BD)
        tl.store(dx + places, gradient.to(dx.dtype.element_ty), mask=inside)
        given, du, dy = next_given, next_du, next_dy
    if HAS_RMS:
        part = tl.sum(tl.sum(total, axis=0), axis=0)
        d = tl.arange(0, BD)
        tl.store(dweight + pid.to(tl.int64) * DIM + d, part, mask=d < DIM)
