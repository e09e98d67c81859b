"""Kernels of the short convolution: a forward and a backward pass, each of which reads and writes every tensor once.

Every row of a tile processes R consecutive tokens, UNROLL at a time, and keeps shared values of neighbours in
registers: the last inputs and, in the backward pass, the last gradients of SiLU's input, which are slow to recompute.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, disable-error-code="assignment,misc"
# ruff: noqa: RUF005 - Triton supports tuples and their sum, but no unpacking

import triton
import triton.language as tl

from nas.kernels.triton_elementwise import silu, silu_and_slope

BEFORE = tl.constexpr(8)
"""Tokens before its first whose bits a row has: a convolution has at most 8 tokens."""
SMALLEST_SQUARE = tl.constexpr(1e-24)
"""Square of the smallest divisor of l2, as in `torch.nn.functional.normalize`."""


@triton.jit
def position(T, D, R, ROWS: tl.constexpr, DIM: tl.constexpr, BD: tl.constexpr):
    """Return this program's place.

    That is its batch entry, its index among the blocks of tokens, the first tokens of its rows, its DIM channels in a
    tile of BD, and which of these exist.
    """
    blocks_d, blocks_t = tl.cdiv(D, DIM), tl.cdiv(T, ROWS * R)
    block = tl.program_id(0) // blocks_d
    t = (block % blocks_t) * (ROWS * R) + tl.arange(0, ROWS)[:, None] * R
    own = tl.arange(0, BD)[None, :]
    d = (tl.program_id(0) % blocks_d) * DIM + own
    return (block // blocks_t).to(tl.int64), block.to(tl.int64), t, d, (own < DIM) & (d < D)


@triton.jit
def places_of(pointer, t, d, stride):
    """Return the addresses [ROWS, BD] of tokens t [ROWS, 1] and channels d [1, BD]."""
    return pointer + t * stride + d


@triton.jit
def load_taps(weight, d, inside, W: tl.constexpr):
    """Load the weights [D, W] of the channels d as W tensors [1, BD]; zeros where they are not ``inside``."""
    taps = ()
    for w in tl.static_range(W):
        taps = taps + (tl.load(weight + d * W + w, mask=inside, other=0.0).to(tl.float32),)
    return taps


@triton.jit
def load_several(places, stride, t, T, inside, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """Load COUNT tiles [ROWS, BD] of the tokens from t + FIRST on, where t [ROWS, 1] are those at ``places``.

    There are zeros outside of the sequence and of the channels ``inside``. All loads start before the first is used.
    """
    tokens = ()
    for i in tl.static_range(FIRST, FIRST + COUNT):
        exists = inside & (t + i < T)
        if i < 0:
            exists &= t + i >= 0
        tokens = tokens + (tl.load(places + i * stride, mask=exists, other=0.0),)
    return tokens


@triton.jit
def widen(tokens, COUNT: tl.constexpr):
    """Convert COUNT tiles to float32."""
    wide = ()
    for i in tl.static_range(COUNT):
        wide = wide + (tokens[i].to(tl.float32),)
    return wide


@triton.jit
def correlate(taps, inputs, W: tl.constexpr):
    """Compute sum_w taps[w] * inputs[w]."""
    total = taps[0] * inputs[0]
    for w in tl.static_range(1, W):
        total += taps[w] * inputs[w]
    return total


@triton.jit
def inverse_norm(y):
    """Return 1 / max(|y|, 1e-12) over the channels, and whether |y| is larger; each [ROWS, 1]."""
    square = tl.sum(y * y, axis=1, keep_dims=True)
    return tl.rsqrt(tl.maximum(square, SMALLEST_SQUARE)), square > SMALLEST_SQUARE


@triton.jit
def gradient_before_silu(p, dy, NORM: tl.constexpr):
    """Return the gradient of SiLU's input p [ROWS, BD] from that of the output."""
    y, slope = silu_and_slope(p)
    dy = dy.to(tl.float32)
    if NORM:
        scale, free = inverse_norm(y)
        u = y * scale
        dy = scale * (dy - u * tl.where(free, tl.sum(dy * u, axis=1, keep_dims=True), 0.0))
    return slope * dy


@triton.jit
def correlate_back(taps, gradients, W: tl.constexpr):
    """Compute sum_w taps[w] * gradients[W - 1 - w]."""
    total = taps[0] * gradients[W - 1]
    for w in tl.static_range(1, W):
        total += taps[w] * gradients[W - 1 - w]
    return total


@triton.jit
def load_begins(begins, t, T):
    """Load which of the 128 tokens from t - BEFORE on, for t [ROWS, 1], begin a document: bits of two words."""
    places, shift = begins + t // 64, (t % 64).to(tl.uint64)
    first, second, third = load_word(places, t < T), load_word(places + 1, t < T), load_word(places + 2, t < T)
    return (first >> shift) | (second << 1 << (63 - shift)), (second >> shift) | (third << 1 << (63 - shift))


@triton.jit
def load_word(places, inside):
    """Load words of 64 bits; zeros where they are not ``inside``."""
    return tl.load(places, mask=inside, other=0).to(tl.uint64, bitcast=True)


@triton.jit
def advance(low, high, COUNT: tl.constexpr):
    """Return the two words of `load_begins` for COUNT tokens later."""
    return (low >> COUNT) | (high << (64 - COUNT)), high >> COUNT


@triton.jit
def own_inputs(inputs, begins, AT: tl.constexpr, W: tl.constexpr):
    """Return the W inputs up to token t + AT, with zeros for those before its document; ``begins`` is a word for t."""
    own = ()
    for w in tl.static_range(W - 1):
        after = (begins >> (BEFORE + AT - (W - 2) + w)) & ((1 << (W - 1 - w)) - 1)
        own = own + (tl.where(after == 0, inputs[w], 0.0),)
    return own + (inputs[W - 1],)


@triton.jit
def own_gradients(dps, begins, AT: tl.constexpr, W: tl.constexpr):
    """Return the W gradients from token t + AT on, with zeros for those after its document, as `own_inputs` does."""
    own = (dps[0],)
    for i in tl.static_range(1, W):
        until = (begins >> (BEFORE + AT + 1)) & ((1 << i) - 1)
        own = own + (tl.where(until == 0, dps[i], 0.0),)
    return own


@triton.jit(do_not_specialize=["T", "R"])
def forward(
    x, weight, begins, y, T, D, R, x_b, x_t,
    W: tl.constexpr, UNROLL: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, BD: tl.constexpr,
    PACKED: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Compute y [B, T, D] on ROWS * R tokens and DIM channels; weight is [D, W].

    With NORM, these channels are a head, over which y is l2-normalised. With PACKED, bit BEFORE + t of the words
    ``begins`` says whether token t begins a document.
    """
    b, _, t, d, inside = position(T, D, R, ROWS, DIM, BD)
    x_t, y_t = tl.cast(x_t, tl.int64), tl.cast(D, tl.int64)
    x, y = places_of(x + b * x_b, t, d, x_t), places_of(y + b * T * D, t, d, y_t)
    taps = load_taps(weight, d, inside, W)
    inputs = widen(load_several(x, x_t, t, T, inside, 1 - W, W - 1), W - 1)
    if PACKED:
        low, high = load_begins(begins, t, T)
    for _ in range(R // UNROLL):
        loaded = load_several(x, x_t, t, T, inside, 0, UNROLL)
        for i in tl.static_range(UNROLL):
            inputs = inputs + (loaded[i].to(tl.float32),)
            own = own_inputs(inputs, low.to(tl.uint32), i, W) if PACKED else inputs
            made = silu(correlate(taps, own, W))
            if NORM:
                made *= inverse_norm(made)[0]
            tl.store(y + i * y_t, made.to(y.dtype.element_ty), mask=inside & (t + i < T))
            inputs = inputs[1:]
        if PACKED:
            low, high = advance(low, high, UNROLL)
        t, x, y = t + UNROLL, x + UNROLL * x_t, y + UNROLL * y_t


@triton.jit(do_not_specialize=["T", "R"])
def backward(
    dy, x, weight, begins, dx, dweight, T, D, R, dy_b, dy_t, x_b, x_t, dx_b, dx_t,
    W: tl.constexpr, UNROLL: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, BD: tl.constexpr,
    PACKED: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Compute dx [B, T, D] on ROWS * R tokens and DIM channels, and their part of dweight [programs, D, W].

    With p_t the input of SiLU, x_s has weight taps[w] in p_{s + W - 1 - w}. At t = s + W - 1 the W gradients of p that
    dx_s needs are in registers. ``begins`` is as in `forward`.
    """
    b, block, s, d, inside = position(T, D, R, ROWS, DIM, BD)
    dy_t, x_t, dx_t = tl.cast(dy_t, tl.int64), tl.cast(x_t, tl.int64), tl.cast(dx_t, tl.int64)
    dy, x = places_of(dy + b * dy_b, s, d, dy_t), places_of(x + b * x_b, s, d, x_t)
    dx = places_of(dx + b * dx_b, s, d, dx_t)
    taps, dps, sums = load_taps(weight, d, inside, W), (), ()
    for _ in tl.static_range(W):
        sums = sums + (tl.zeros([ROWS, BD], tl.float32),)
    inputs = widen(load_several(x, x_t, s, T, inside, 1 - W, W - 1), W - 1)
    x_begin, dy_begin = load_several(x, x_t, s, T, inside, 0, W - 1), load_several(dy, dy_t, s, T, inside, 0, W - 1)
    if PACKED:
        low, high = load_begins(begins, s, T)
    for i in tl.static_range(W - 1):
        inputs = inputs + (x_begin[i].to(tl.float32),)
        own = own_inputs(inputs, low.to(tl.uint32), i, W) if PACKED else inputs
        dps = dps + (gradient_before_silu(correlate(taps, own, W), dy_begin[i], NORM),)
        inputs = inputs[1:]
    for _ in range(R // UNROLL):
        x_loaded = load_several(x, x_t, s, T, inside, W - 1, UNROLL)
        dy_loaded = load_several(dy, dy_t, s, T, inside, W - 1, UNROLL)
        for i in tl.static_range(UNROLL):
            inputs = inputs + (x_loaded[i].to(tl.float32),)
            own = own_inputs(inputs, low.to(tl.uint32), W - 1 + i, W) if PACKED else inputs
            dps = dps + (gradient_before_silu(correlate(taps, own, W), dy_loaded[i], NORM),)
            own = own_gradients(dps, low.to(tl.uint32), i, W) if PACKED else dps
            gradient, added = correlate_back(taps, own, W), ()
            for w in tl.static_range(W):
                added = added + (sums[w] + inputs[0] * own[W - 1 - w],)
            tl.store(dx + i * dx_t, gradient.to(dx.dtype.element_ty), mask=inside & (s + i < T))
            inputs, dps, sums = inputs[1:], dps[1:], added
        if PACKED:
            low, high = advance(low, high, UNROLL)
        s, x, dy, dx = s + UNROLL, x + UNROLL * x_t, dy + UNROLL * dy_t, dx + UNROLL * dx_t
    for w in tl.static_range(W):
        tl.store(dweight + (block * D + d) * W + w, tl.sum(sums[w], axis=0)[None, :], mask=inside)
