"""The inverse of each tile's triangular system, in blocks of 16 x 16.

Of A = (I + L)^-1 with L_ij = beta_i D_ij k_i . k_j below the diagonal (see `triton_forward`), pairs of neighbouring
blocks are joined to blocks of twice the size: with N = -L, A_10 = A_11 N_10 A_00. One warp computes a tile without
synchronisation, since the blocks are small. Many tiles share a multiprocessor, which hides the latency of each.

All blocks are accumulators of products. As an operand of the next product a block would have to move between threads.
`_multiply` takes the columns in another order, so that none moves. It needs the second factor transposed, and blocks
that are needed both ways are computed both ways.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import load_gates, load_rows, place_tile, split_gate
from nas.kernels.triton_dot import EMULATED, dot

SIDE = tl.constexpr(16)
"""Rows and columns of a block: the smallest size of a product."""


@triton.jit
def invert(
    k, g, beta, tiles, gates_out, a_out, bounds,
    T, H, NT,
    k_b, k_t, k_h,
    K: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BT: tl.constexpr, GROUP: tl.constexpr,
    HAS_BOUNDS: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute for a tile of a head A [BT, BT], and its gates [3, BT]: the two running sums of g, and beta.

    With HAS_BOUNDS its b_n goes to ``bounds`` [B * H, NT], see `triton_reach`.
    """
    tile = tl.program_id(0).to(tl.int64)
    bh = tile // NT
    start, end = place_tile(tiles, tile % NT, T, BT, PACKED)
    k += (bh // H) * k_b + (bh % H) // GROUP * k_h
    a_out += tile * BT * BT
    wholes, rests, strengths = _gates(g, beta, gates_out + tile * 3 * BT, bh, start, end, H, BT)

    kk00 = tl.zeros((SIDE, SIDE), tl.float32)
    kk11, kk10, kk22, kk21, kk20, kk33, kk32, kk31, kk30 = kk00, kk00, kk00, kk00, kk00, kk00, kk00, kk00, kk00
    for key in range(0, BK, BKB):
        k0 = load_rows(k, start, end, k_t, key, K, SIDE, BKB)
        kk00 = dot(k0, tl.trans(k0), kk00, PRECISION)
        if BT > SIDE:
            k1 = load_rows(k, start + SIDE, end, k_t, key, K, SIDE, BKB)
            kk10 = dot(k1, tl.trans(k0), kk10, PRECISION)
            kk11 = dot(k1, tl.trans(k1), kk11, PRECISION)
        if BT > 2 * SIDE:
            k2 = load_rows(k, start + 2 * SIDE, end, k_t, key, K, SIDE, BKB)
            kk20 = dot(k2, tl.trans(k0), kk20, PRECISION)
            kk21 = dot(k2, tl.trans(k1), kk21, PRECISION)
            kk22 = dot(k2, tl.trans(k2), kk22, PRECISION)
            k3 = load_rows(k, start + 3 * SIDE, end, k_t, key, K, SIDE, BKB)
            kk30 = dot(k3, tl.trans(k0), kk30, PRECISION)
            kk31 = dot(k3, tl.trans(k1), kk31, PRECISION)
            kk32 = dot(k3, tl.trans(k2), kk32, PRECISION)
            kk33 = dot(k3, tl.trans(k3), kk33, PRECISION)

    if HAS_BOUNDS:
        growth = _growth(kk00, _part(strengths, 0, BT))
        if BT > SIDE:
            growth *= _growth(kk11, _part(strengths, 1, BT))
        if BT > 2 * SIDE:
            growth *= _growth(kk22, _part(strengths, 2, BT)) * _growth(kk33, _part(strengths, 3, BT))
        tl.store(bounds + tile, _last(wholes, BT) + _last(rests, BT) + tl.sum(tl.sum(tl.log(growth), 1), 0))
    w0, r0, b0 = _part(wholes, 0, BT), _part(rests, 0, BT), _part(strengths, 0, BT)
    a00, t00 = _invert_diagonal(kk00, w0, r0, b0, PRECISION)
    _store(a_out, a00, 0, 0, BT)
    if BT > SIDE:
        w1, r1, b1 = _part(wholes, 1, BT), _part(rests, 1, BT), _part(strengths, 1, BT)
        a11, t11 = _invert_diagonal(kk11, w1, r1, b1, PRECISION)
        before_w, before_r = _last(w0, SIDE), _last(r0, SIDE)
        q10 = _multiply(t00, _below(kk10, w1, r1, b1, w0, r0, before_w, before_r), None, PRECISION)
        a10, t10 = _multiply(a11, q10, None, PRECISION), _multiply(q10, a11, None, PRECISION)
        _store(a_out, a11, 1, 1, BT)
        _store(a_out, a10, 1, 0, BT)
        _store(a_out, tl.zeros_like(a11), 0, 1, BT)
    if BT > 2 * SIDE:
        w2, r2, b2 = _part(wholes, 2, BT), _part(rests, 2, BT), _part(strengths, 2, BT)
        w3, r3, b3 = _part(wholes, 3, BT), _part(rests, 3, BT), _part(strengths, 3, BT)
        before_w, before_r = _last(w1, SIDE), _last(r1, SIDE)
        n20 = _below(kk20, w2, r2, b2, w0, r0, before_w, before_r)
        n21 = _below(kk21, w2, r2, b2, w1, r1, before_w, before_r)
        # M_ij = sum over k of N_ik A_kj, transposed
        m20 = _multiply(t10, n21, _multiply(t00, n20, None, PRECISION), PRECISION)
        m21 = _multiply(t11, n21, None, PRECISION)
        a22, t22 = _invert_diagonal(kk22, w2, r2, b2, PRECISION)
        _store(a_out, a22, 2, 2, BT)
        _store(a_out, _multiply(a22, m20, None, PRECISION), 2, 0, BT)
        _store(a_out, _multiply(a22, m21, None, PRECISION), 2, 1, BT)
        before_w, before_r = _last(w2, SIDE), _last(r2, SIDE)
        n30 = _below(kk30, w3, r3, b3, w0, r0, before_w, before_r)
        n31 = _below(kk31, w3, r3, b3, w1, r1, before_w, before_r)
        m30 = _multiply(t10, n31, _multiply(t00, n30, None, PRECISION), PRECISION)
        m31 = _multiply(t11, n31, None, PRECISION)
        a33, _ = _invert_diagonal(kk33, w3, r3, b3, PRECISION)
        _store(a_out, a33, 3, 3, BT)
        q32 = _multiply(t22, _below(kk32, w3, r3, b3, w2, r2, before_w, before_r), None, PRECISION)
        a32 = _multiply(a33, q32, None, PRECISION)
        _store(a_out, a32, 3, 2, BT)
        _store(a_out, _multiply(a32, m20, _multiply(a33, m30, None, PRECISION), PRECISION), 3, 0, BT)
        _store(a_out, _multiply(a32, m21, _multiply(a33, m31, None, PRECISION), PRECISION), 3, 1, BT)
        zeros = tl.zeros_like(a22)
        for row in tl.static_range(3):
            for column in tl.static_range(2, 4):
                if column > row:
                    _store(a_out, zeros, row, column, BT)


@triton.jit
def _gates(g, beta, gates_out, bh, start, end, H, BT: tl.constexpr):
    """Return the two running sums of a tile's g, and its beta; they are stored too."""
    whole, rest = split_gate(load_gates(g, bh, start, end, H, BT))
    strengths = load_gates(beta, bh, start, end, H, BT)
    wholes, rests = tl.cumsum(whole, 0), tl.cumsum(rest, 0)
    i = tl.arange(0, BT)
    tl.store(gates_out + i, wholes)
    tl.store(gates_out + BT + i, rests)
    tl.store(gates_out + 2 * BT + i, strengths)
    return wholes, rests, strengths


@triton.jit
def _part(x, index: tl.constexpr, BT: tl.constexpr):
    """Return the part of x [BT] in the rows of the block ``index``."""
    if BT > SIDE:
        low, high = x.reshape(2, BT // 2).permute(1, 0).split()
        if BT == 2 * SIDE:
            x = low if index == 0 else high
        else:
            low, high = (low if index < 2 else high).reshape(2, SIDE).permute(1, 0).split()
            x = low if index % 2 == 0 else high
    return x


@triton.jit
def _growth(kk, strength):
    """Compute max(1, |1 - beta_i |k_i|^2|) on the diagonal of a block [SIDE, SIDE], else 1; NaN stays NaN."""
    i = tl.arange(0, SIDE)
    factor = tl.abs(1.0 - kk * strength[:, None])
    return tl.where((i[:, None] != i[None, :]) | (factor < 1.0), 1.0, factor)


@triton.jit
def _last(x, SIZE: tl.constexpr):
    """Return the last number of x [SIZE]."""
    return tl.sum(tl.where(tl.arange(0, SIZE) == SIZE - 1, x, 0.0), 0)


@triton.jit
def _multiply(a, b_transposed, acc, PRECISION: tl.constexpr):
    """Compute a b + acc of blocks, from a and the transpose of b; acc may be None.

    The sum runs over the columns of both in the order 0, 2, 4, 6, 1, 3, 5, 7 of each half: a thread has columns 2 c and
    2 c + 1 of an accumulator, but the c-th and the (c + 4)-th column of an operand.
    """
    left = a.reshape(SIDE, 2, 4, 2).permute(0, 1, 3, 2).reshape(SIDE, SIDE)
    right = b_transposed.reshape(SIDE, 2, 4, 2).permute(1, 3, 2, 0).reshape(SIDE, SIDE)
    return dot(left, right, acc, PRECISION)


@triton.jit
def _exp(x):
    """Compute e^x, and 0 instead of numbers below the normal ones, in two instructions."""
    if EMULATED:
        y = tl.exp(x)
    else:
        y = tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x * 1.4426950408889634], dtype=tl.float32, is_pure=True, pack=1
        )
    return y


@triton.jit
def _below(kk, whole, rest, strength, other_whole, other_rest, whole_before, rest_before):
    """Compute a block of N below the diagonal, from the gates of its rows and columns and the sums before its rows."""
    of_rows = -strength * _exp((whole - whole_before) + (rest - rest_before))
    of_columns = _exp((whole_before - other_whole) + (rest_before - other_rest))
    return (kk * of_rows[:, None]) * of_columns[None, :]


@triton.jit
def _invert_diagonal(kk, whole, rest, strength, PRECISION: tl.constexpr):
    """Compute (I - N)^-1 of a block on the diagonal, and its transpose."""
    i = tl.arange(0, SIDE)
    row, column = i[:, None], i[None, :]
    between = (whole[:, None] - whole[None, :]) + (rest[:, None] - rest[None, :])
    both = kk * _exp(-tl.abs(between))
    n = tl.where(row > column, both * -strength[:, None], 0.0)
    one, pairs = tl.where(row == column, 1.0, 0.0), row // 2 == column // 2
    inverse = tl.where(pairs & (row > column), n, one)
    transposed = tl.where(pairs & (row < column), both * -strength[None, :], one)
    inverse, transposed = _join(inverse, transposed, n, 2, PRECISION)
    inverse, transposed = _join(inverse, transposed, n, 4, PRECISION)
    return _join(inverse, transposed, n, 8, PRECISION)


@triton.jit
def _join(inverse, transposed, n, SIZE: tl.constexpr, PRECISION: tl.constexpr):
    """Join pairs of blocks of SIZE rows: return the inverse of N in blocks of twice the size, and its transpose."""
    i = tl.arange(0, SIDE)
    row, column = i[:, None], i[None, :]
    joining = (row // (2 * SIZE) == column // (2 * SIZE)) & (row // SIZE != column // SIZE)
    product = _multiply(transposed, tl.where(joining, n, 0.0), None, PRECISION)  # (N inverse)^T
    joined = _multiply(inverse, product, inverse, PRECISION)
    return joined, _multiply(product, inverse, transposed, PRECISION)


@triton.jit
def _store(a_out, block, row, column, BT: tl.constexpr):
    """Store one block of A."""
    i = tl.arange(0, SIDE)
    at = (i + row * SIDE)[:, None] * BT + (i + column * SIDE)[None, :]
    tl.store(a_out + at, block.to(a_out.dtype.element_ty))
