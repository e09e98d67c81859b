"""The inverse of each tile's triangular system, in blocks of 16 x 16.

Of A = (I + L)^-1 with L_ij = beta_i D_ij k_i . k_j below the diagonal (see `triton_forward`), the blocks on the
diagonal come from forward substitution and the blocks below it from products with them. One warp computes a tile
without synchronisation, since the blocks are small. Many tiles share a multiprocessor, which hides the latency of each.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import load_gates, load_rows, place_tile, split_gate
from nas.kernels.triton_dot import dot

SIDE = tl.constexpr(16)
"""Rows and columns of a block: the smallest size of a product."""
PART = tl.constexpr(8)
"""Rows and columns of the parts of a block that are inverted by substitution, half of SIDE."""


@triton.jit
def invert(
    k, g, beta, tiles, gates_out, a_out,
    T, H, NT,
    k_b, k_t, k_h,
    K: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BT: tl.constexpr, GROUP: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute for a tile of a head A [BT, BT], and its gates [3, BT]: the two running sums of g, and beta."""
    tile = tl.program_id(0).to(tl.int64)
    bh = tile // NT
    start, end = place_tile(tiles, tile % NT, T, BT, PACKED)
    k += (bh // H) * k_b + (bh % H) // GROUP * k_h
    a_out += tile * BT * BT
    gates_out += tile * 3 * BT + tl.arange(0, SIDE)

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

    w0, r0, b0, wholes0, rests0 = _gates(g, beta, gates_out, bh, start, 0.0, 0.0, end, H, BT)
    a00 = _invert_diagonal(kk00, w0, r0, b0, PRECISION)
    _store(a_out, a00, 0, 0, BT)
    if BT > SIDE:
        w1, r1, b1, wholes1, rests1 = _gates(g, beta, gates_out + SIDE, bh, start + SIDE, wholes0, rests0, end, H, BT)
        a11 = _invert_diagonal(kk11, w1, r1, b1, PRECISION)
        l10 = _lower(kk10, w1, r1, b1, w0, r0)
        a10 = -dot(a11, dot(l10, a00, None, PRECISION), None, PRECISION)
        _store(a_out, a11, 1, 1, BT)
        _store(a_out, a10, 1, 0, BT)
        _store(a_out, tl.zeros_like(a11), 0, 1, BT)
    if BT > 2 * SIDE:
        w2, r2, b2, wholes2, rests2 = _gates(
            g, beta, gates_out + 2 * SIDE, bh, start + 2 * SIDE, wholes1, rests1, end, H, BT
        )
        w3, r3, b3, _, _ = _gates(g, beta, gates_out + 3 * SIDE, bh, start + 3 * SIDE, wholes2, rests2, end, H, BT)
        a22 = _invert_diagonal(kk22, w2, r2, b2, PRECISION)
        a33 = _invert_diagonal(kk33, w3, r3, b3, PRECISION)
        l20, l21 = _lower(kk20, w2, r2, b2, w0, r0), _lower(kk21, w2, r2, b2, w1, r1)
        l30, l31, l32 = (
            _lower(kk30, w3, r3, b3, w0, r0),
            _lower(kk31, w3, r3, b3, w1, r1),
            _lower(kk32, w3, r3, b3, w2, r2),
        )
        a21 = -dot(a22, dot(l21, a11, None, PRECISION), None, PRECISION)
        a32 = -dot(a33, dot(l32, a22, None, PRECISION), None, PRECISION)
        a20 = -dot(a22, dot(l20, a00, dot(l21, a10, None, PRECISION), PRECISION), None, PRECISION)
        a31 = -dot(a33, dot(l31, a11, dot(l32, a21, None, PRECISION), PRECISION), None, PRECISION)
        sum30 = dot(l30, a00, dot(l31, a10, dot(l32, a20, None, PRECISION), PRECISION), PRECISION)
        a30 = -dot(a33, sum30, None, PRECISION)
        _store(a_out, a22, 2, 2, BT)
        _store(a_out, a21, 2, 1, BT)
        _store(a_out, a20, 2, 0, BT)
        _store(a_out, a33, 3, 3, BT)
        _store(a_out, a32, 3, 2, BT)
        _store(a_out, a31, 3, 1, BT)
        _store(a_out, a30, 3, 0, BT)
        zeros = tl.zeros_like(a22)
        for row in tl.static_range(3):
            for column in tl.static_range(2, 4):
                if column > row:
                    _store(a_out, zeros, row, column, BT)


@triton.jit
def _gates(g, beta, gates_out, bh, start, whole_before, rest_before, T, H, BT: tl.constexpr):
    """Copy the gates of a block to the tile's; sums begin at ``.._before``. Return sums, beta and last sums."""
    whole, rest = split_gate(load_gates(g, bh, start, T, H, SIDE))
    wholes, rests = whole_before + tl.cumsum(whole, 0), rest_before + tl.cumsum(rest, 0)
    tl.store(gates_out, wholes)
    tl.store(gates_out + BT, rests)
    strength = load_gates(beta, bh, start, T, H, SIDE)
    tl.store(gates_out + 2 * BT, strength)
    return wholes, rests, strength, whole_before + tl.sum(whole, 0), rest_before + tl.sum(rest, 0)


@triton.jit
def _lower(kk, whole_row, rest_row, strength, whole_column, rest_column):
    """Compute a block of L below the diagonal."""
    between = (whole_row[:, None] - whole_column[None, :]) + (rest_row[:, None] - rest_column[None, :])
    return kk * tl.exp(between) * strength[:, None]


@triton.jit
def _invert_diagonal(kk, whole, rest, strength, PRECISION: tl.constexpr):
    """Compute (I + L)^-1 of a block on the diagonal.

    Forward substitution gives the inverse B of its two parts on the diagonal, both at once. With C the part of L below
    them the whole inverse is B - B C B, since C B C = 0.
    """
    i = tl.arange(0, SIDE)
    row, column = i[:, None], i[None, :]
    between = (whole[:, None] - whole[None, :]) + (rest[:, None] - rest[None, :])
    lower = kk * tl.exp(tl.where(row > column, between, float("-inf"))) * strength[:, None]
    inverse = tl.where(row == column, 1.0, 0.0)
    in_part = row // PART == column // PART
    parts = tl.where(in_part, lower, 0.0)
    for j in tl.static_range(PART - 1):  # the j-th rows of both parts are done: subtract them from the rows below
        factors = tl.sum(tl.where(column % PART == j, parts, 0.0), 1)
        done = tl.sum(tl.where((row % PART == j) & in_part, inverse, 0.0), 0)
        inverse -= factors[:, None] * done[None, :]
    inverse = tl.where(in_part, inverse, 0.0)  # beside the parts are products of rows of one with columns of the other
    joining = tl.where(in_part, 0.0, lower)
    return inverse - dot(inverse, dot(joining, inverse, None, PRECISION), None, PRECISION)


@triton.jit
def _store(a_out, block, row, column, BT: tl.constexpr):
    """Store one block of A."""
    i = tl.arange(0, SIDE)
    at = (i + row * SIDE)[:, None] * BT + (i + column * SIDE)[None, :]
    tl.store(a_out + at, block.to(a_out.dtype.element_ty))
