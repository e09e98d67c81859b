"""Kernels of the short convolution: a forward and a backward pass, each of which reads and writes every tensor once.

Every row of a tile processes R consecutive tokens, UNROLL at a time, and keeps shared values of neighbours in
registers: the last inputs and, in the backward pass, the last gradients of SiLU's input, which are slow to recompute.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, disable-error-code="assignment,misc"
# ruff: noqa: RUF005 - Triton supports tuples and their sum, but no unpacking

import triton
import triton.language as tl

from nas.kernels.triton_elementwise import silu, silu_and_slope


@triton.jit
def position(T, D, R: tl.constexpr, ROWS: tl.constexpr, BD: tl.constexpr):
    """Return this program's batch entry, index among the blocks of tokens, first tokens of its rows, and channels."""
    blocks_d, blocks_t = tl.cdiv(D, BD), tl.cdiv(T, ROWS * R)
    block = tl.program_id(0) // blocks_d
    t = (block % blocks_t) * (ROWS * R) + tl.arange(0, ROWS)[:, None] * R
    d = (tl.program_id(0) % blocks_d) * BD + tl.arange(0, BD)[None, :]
    return (block // blocks_t).to(tl.int64), block.to(tl.int64), t, d


@triton.jit
def load_tokens(pointer, t, d, T, D, stride):
    """Load [ROWS, BD] at tokens t [ROWS, 1] and channels d [1, BD]; zeros outside of the sequence."""
    return tl.load(pointer + t.to(tl.int64) * stride + d, mask=(t >= 0) & (t < T) & (d < D), other=0.0)


@triton.jit
def load_taps(weight, d, D, W: tl.constexpr):
    """Load the weights [D, W] of the channels d as W tensors [1, BD]."""
    taps = ()
    for w in tl.static_range(W):
        taps = taps + (tl.load(weight + d * W + w, mask=d < D, other=0.0).to(tl.float32),)
    return taps


@triton.jit
def load_several(pointer, t, d, T, D, stride, COUNT: tl.constexpr):
    """Load COUNT tiles as `load_tokens` does, at tokens t, t + 1, ...; all loads start before the first is used."""
    tokens = ()
    for i in tl.static_range(COUNT):
        tokens = tokens + (load_tokens(pointer, t + i, d, T, D, stride),)
    return tokens


@triton.jit
def correlate(taps, inputs, W: tl.constexpr):
    """Compute sum_w taps[w] * inputs[w]."""
    total = taps[0] * inputs[0]
    for w in tl.static_range(1, W):
        total += taps[w] * inputs[w]
    return total


@triton.jit
def keep_own_inputs(inputs, t, documents, T, W: tl.constexpr):
    """Return the W inputs up to token t [ROWS, 1], with zeros for those before its document."""
    begin = tl.load(documents + t * 2, mask=t < T, other=0)
    own = ()
    for w in tl.static_range(W):
        own = own + (tl.where(t - (W - 1) + w >= begin, inputs[w], 0.0),)
    return own


@triton.jit
def keep_own_gradients(dps, s, documents, T, W: tl.constexpr):
    """Return the W gradients from token s [ROWS, 1] on, with zeros for those after its document."""
    end = tl.load(documents + s * 2 + 1, mask=s < T, other=0)
    own = ()
    for i in tl.static_range(W):
        own = own + (tl.where(s + i < end, dps[i], 0.0),)
    return own


@triton.jit(do_not_specialize=["T"])
def forward(
    x, weight, documents, y, T, D, x_b, x_t,
    W: tl.constexpr, R: tl.constexpr, UNROLL: tl.constexpr, ROWS: tl.constexpr, BD: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Compute y [B, T, D] on ROWS * R tokens and BD channels; weight is [D, W].

    With PACKED, ``documents`` [T, 2] holds the first token of each token's document, and the token after its last.
    """
    b, _, start, d = position(T, D, R, ROWS, BD)
    x += b * x_b
    taps, inputs = load_taps(weight, d, D, W), ()
    for w in tl.static_range(W - 1):
        inputs = inputs + (load_tokens(x, start - (W - 1) + w, d, T, D, x_t).to(tl.float32),)
    for step in range(R // UNROLL):
        first = start + step * UNROLL
        loaded = load_several(x, first, d, T, D, x_t, UNROLL)
        for i in tl.static_range(UNROLL):
            inputs = inputs + (loaded[i].to(tl.float32),)
            t = first + i
            own = keep_own_inputs(inputs, t, documents, T, W) if PACKED else inputs
            made = silu(correlate(taps, own, W))
            tl.store(y + (b * T + t) * D + d, made.to(y.dtype.element_ty), mask=(t < T) & (d < D))
            inputs = inputs[1:]


@triton.jit(do_not_specialize=["T"])
def backward(
    dy, x, weight, documents, dx, dweight, T, D, dy_b, dy_t, x_b, x_t, dx_b, dx_t,
    W: tl.constexpr, R: tl.constexpr, UNROLL: tl.constexpr, ROWS: tl.constexpr, BD: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Compute dx [B, T, D] on ROWS * R tokens and BD channels, and their part of dweight [programs, D, W].

    With p_t the input of SiLU, x_s has weight taps[w] in p_{s + W - 1 - w}. At t = s + W - 1 the W gradients of p that
    dx_s needs are in registers. ``documents`` is as in `forward`.
    """
    b, block, start, d = position(T, D, R, ROWS, BD)
    x += b * x_b
    dy += b * dy_b
    dx += b * dx_b
    taps, inputs, dps, sums = load_taps(weight, d, D, W), (), (), ()
    for _ in tl.static_range(W):
        sums = sums + (tl.zeros([ROWS, BD], tl.float32),)
    for w in tl.static_range(W - 1):
        inputs = inputs + (load_tokens(x, start - (W - 1) + w, d, T, D, x_t).to(tl.float32),)
    for i in tl.static_range(W - 1):
        inputs = inputs + (load_tokens(x, start + i, d, T, D, x_t).to(tl.float32),)
        own = keep_own_inputs(inputs, start + i, documents, T, W) if PACKED else inputs
        slope = silu_and_slope(correlate(taps, own, W))[1]
        dps = dps + (slope * load_tokens(dy, start + i, d, T, D, dy_t).to(tl.float32),)
        inputs = inputs[1:]
    for step in range(R // UNROLL):
        first = start + step * UNROLL
        x_loaded = load_several(x, first + (W - 1), d, T, D, x_t, UNROLL)
        dy_loaded = load_several(dy, first + (W - 1), d, T, D, dy_t, UNROLL)
        for i in tl.static_range(UNROLL):
            inputs = inputs + (x_loaded[i].to(tl.float32),)
            own = keep_own_inputs(inputs, first + (W - 1) + i, documents, T, W) if PACKED else inputs
            slope = silu_and_slope(correlate(taps, own, W))[1]
            dps = dps + (slope * dy_loaded[i].to(tl.float32),)
            s, added, gradient = first + i, (), tl.zeros([ROWS, BD], tl.float32)
            own = keep_own_gradients(dps, s, documents, T, W) if PACKED else dps
            for w in tl.static_range(W):
                gradient += taps[w] * own[W - 1 - w]
                added = added + (sums[w] + inputs[0] * own[W - 1 - w],)
            tl.store(dx + s.to(tl.int64) * dx_t + d, gradient.to(dx.dtype.element_ty), mask=(s < T) & (d < D))
            inputs, dps, sums = inputs[1:], dps[1:], added
    for w in tl.static_range(W):
        tl.store(dweight + (block * D + d) * W + w, tl.sum(sums[w], axis=0)[None, :], mask=d < D)
