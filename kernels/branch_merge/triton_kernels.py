"""Kernels that merge the branches.

A program takes one head of some tokens. ``o`` is the first branch, and ``other`` the second if there are two (PAIR).
``share`` is the first branch's share: the softmax of two scores is the sigmoid of their difference. In a mixture
(MIXED), the share counts with the third of the weights ``mixture``, and each branch has a weight of its own beside it.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, disable-error-code="assignment"
# ruff: noqa: RUF005 - Triton supports tuples and their sum, but no unpacking

import triton
import triton.language as tl

from nas.kernels.triton_elementwise import inverse_rms, rms_gradient, sigmoid, silu, silu_and_slope


@triton.jit
def load_head(pointer, t, head, N, stride, DIM: tl.constexpr, BD: tl.constexpr):
    """Load [len(t), BD]: the head's DIM channels at tokens t [BT, 1], zeros beyond both."""
    d = tl.arange(0, BD)[None, :]
    inside = (t < N) & (d < DIM)
    return tl.load(pointer + t.to(tl.int64) * stride + (head * DIM + d), mask=inside, other=0.0)


@triton.jit
def store_head(pointer, tile, t, head, N, stride, DIM: tl.constexpr, BD: tl.constexpr):
    """Store a tile where `load_head` loads it."""
    d = tl.arange(0, BD)[None, :]
    inside = (t < N) & (d < DIM)
    tl.store(pointer + t.to(tl.int64) * stride + (head * DIM + d), tile.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def load_scores(scores, t, head, N, stride):
    """Load both scores of a head at tokens t, each [len(t), 1]."""
    place = scores + t.to(tl.int64) * stride + 2 * head
    return tl.load(place, mask=t < N, other=0.0), tl.load(place + 1, mask=t < N, other=0.0)


@triton.jit
def share_of(first, second):
    """Compute the weight of the first branch."""
    return sigmoid(first.to(tl.float32) - second.to(tl.float32))


@triton.jit
def load_mixture(mixture):
    """Load the weights of the first branch alone, of the second alone, and of both by their shares."""
    first, second, hybrid = tl.load(mixture), tl.load(mixture + 1), tl.load(mixture + 2)
    return first.to(tl.float32), second.to(tl.float32), hybrid.to(tl.float32)


@triton.jit
def load_gain(weight, DIM: tl.constexpr, BD: tl.constexpr):
    """Load weight [DIM] as [1, BD]."""
    d = tl.arange(0, BD)[None, :]
    return tl.load(weight + d, mask=d < DIM, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["N"])
def forward(
    o, other, weight, other_weight, scores, gate, mixture, y,
    N, o_stride, other_stride, scores_stride, gate_stride, eps,
    HEADS: tl.constexpr, DIM: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PAIR: tl.constexpr,
    MIXED: tl.constexpr,
):  # fmt: skip
    """Compute y [N, HEADS * DIM] for BT tokens of one head."""
    pid = tl.program_id(0)
    head = pid % HEADS
    t = pid // HEADS * BT + tl.arange(0, BT)[:, None]
    given, gates = load_head(o, t, head, N, o_stride, DIM, BD), load_head(gate, t, head, N, gate_stride, DIM, BD)
    if PAIR:  # all loads start before the first is used
        beside = load_head(other, t, head, N, other_stride, DIM, BD).to(tl.float32)
        first_score, second_score = load_scores(scores, t, head, N, scores_stride)
    given = given.to(tl.float32)
    merged = given * inverse_rms(given, eps, DIM) * load_gain(weight, DIM, BD)
    if PAIR:
        normed = beside * inverse_rms(beside, eps, DIM) * load_gain(other_weight, DIM, BD)
        share = share_of(first_score, second_score)
        rest = 1.0 - share
        if MIXED:
            first, second, hybrid = load_mixture(mixture)
            share, rest = first + hybrid * share, second + hybrid * rest
        merged = share * merged + rest * normed
    merged *= silu(gates.to(tl.float32))
    store_head(y, merged, t, head, N, HEADS * DIM, DIM, BD)


@triton.jit
def load_backward(
    dy, o, other, scores, gate, t, head, N, dy_stride, o_stride, other_stride, scores_stride, gate_stride,
    DIM: tl.constexpr, BD: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    """Load what the backward pass reads of the head's tokens t: dy, o and gate; with PAIR other and both scores too."""
    tiles = (
        load_head(dy, t, head, N, dy_stride, DIM, BD),
        load_head(o, t, head, N, o_stride, DIM, BD),
        load_head(gate, t, head, N, gate_stride, DIM, BD),
    )
    if PAIR:
        tiles = tiles + (load_head(other, t, head, N, other_stride, DIM, BD),)
        tiles = tiles + load_scores(scores, t, head, N, scores_stride)
    return tiles


@triton.jit(do_not_specialize=["N"])
def backward(
    dy, o, other, weight, other_weight, scores, gate, mixture,
    do, dother, dweights, dscores, dgate, dmixture,
    N, dy_stride, o_stride, other_stride, scores_stride, gate_stride, dgate_stride, eps,
    HEADS: tl.constexpr, DIM: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PAIR: tl.constexpr,
    MIXED: tl.constexpr,
):  # fmt: skip
    """Compute all gradients for every (num_programs / HEADS)-th tile of a head.

    dweights is [1 or 2, programs, DIM], and dmixture [programs, 3]. The next tile is loaded while a tile is processed.
    """
    pid = tl.program_id(0)
    head = pid % HEADS
    gain, total = load_gain(weight, DIM, BD), tl.zeros([BT, BD], tl.float32)
    if PAIR:
        other_gain, other_total = load_gain(other_weight, DIM, BD), tl.zeros([BT, BD], tl.float32)
    if MIXED:
        first, second, hybrid = load_mixture(mixture)
        dfirst, dsecond = tl.zeros([BT, 1], tl.float32), tl.zeros([BT, 1], tl.float32)
        dhybrid = tl.zeros([BT, 1], tl.float32)
    step, t = tl.num_programs(0) // HEADS * BT, pid // HEADS * BT + tl.arange(0, BT)[:, None]
    ahead = load_backward(
        dy, o, other, scores, gate, t, head, N, dy_stride, o_stride, other_stride, scores_stride, gate_stride,
        DIM, BD, PAIR,
    )  # fmt: skip
    for _ in range(pid // HEADS * BT, N, step):
        loaded = ahead
        ahead = load_backward(
            dy, o, other, scores, gate, t + step, head, N,
            dy_stride, o_stride, other_stride, scores_stride, gate_stride, DIM, BD, PAIR,
        )  # fmt: skip
        given = loaded[1].to(tl.float32)
        scale = inverse_rms(given, eps, DIM)
        u = given * scale
        merged = u * gain
        opened, slope = silu_and_slope(loaded[2].to(tl.float32))
        dgated = loaded[0].to(tl.float32)
        dmerged = dgated * opened
        du = dmerged * gain
        if PAIR:
            given = loaded[3].to(tl.float32)
            other_scale = inverse_rms(given, eps, DIM)
            other_u = given * other_scale
            share = share_of(loaded[4], loaded[5])
            rest = 1.0 - share
            dother_u = dmerged * other_gain
            inner, other_inner = tl.sum(du * u, 1, keep_dims=True), tl.sum(dother_u * other_u, 1, keep_dims=True)
            dscore = share * rest * (inner - other_inner)
            if MIXED:
                dfirst += inner
                dsecond += other_inner
                dhybrid += share * inner + rest * other_inner
                dscore *= hybrid
                share, rest = first + hybrid * share, second + hybrid * rest
            merged = share * merged + rest * other_u * other_gain
            place = dscores + t.to(tl.int64) * (2 * HEADS) + 2 * head
            tl.store(place, dscore.to(dscores.dtype.element_ty), mask=t < N)
            tl.store(place + 1, (-dscore).to(dscores.dtype.element_ty), mask=t < N)
            gradient = rms_gradient(other_u, rest * dother_u, rest * other_inner, other_scale, DIM)
            store_head(dother, gradient, t, head, N, HEADS * DIM, DIM, BD)
            other_total += rest * dmerged * other_u
            gradient = rms_gradient(u, share * du, share * inner, scale, DIM)
            total += share * dmerged * u
        else:
            gradient = rms_gradient(u, du, tl.sum(du * u, 1, keep_dims=True), scale, DIM)
            total += dmerged * u
        store_head(do, gradient, t, head, N, HEADS * DIM, DIM, BD)
        store_head(dgate, dgated * merged * slope, t, head, N, dgate_stride, DIM, BD)
        t += step
    d = tl.arange(0, BD)
    place = dweights + pid.to(tl.int64) * DIM + d
    tl.store(place, tl.sum(total, 0), mask=d < DIM)
    if PAIR:
        tl.store(place + tl.num_programs(0).to(tl.int64) * DIM, tl.sum(other_total, 0), mask=d < DIM)
    if MIXED:
        place = dmixture + 3 * pid.to(tl.int64)
        tl.store(place, tl.sum(dfirst))
        tl.store(place + 1, tl.sum(dsecond))
        tl.store(place + 2, tl.sum(dhybrid))
