"""Backward pass of the gated delta rule after the scan of the state's gradient: kernels that are parallel over tiles.

With the notation of `triton_forward`, and dS the gradient of the state after a tile::

    dX = P^T do + e^{c_last - c} k dS          dv = beta A^T dX

`differentiate_values` and `differentiate_keys` compute the gradients of the inputs from the state before a tile and the
gradient after it. No left operand of a product is the transpose of another product's result: Triton 3.4 to 3.7 compiles
that wrongly for Hopper (flash-linear-attention#640).
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import (
    VANISHED,
    chunk_of_tile,
    decays,
    decays_to_end,
    ends_chunk,
    load_gates,
    load_rows,
    load_sums,
    load_tile,
    place_tile,
    store_rows,
    store_tile,
    sum_rows,
)
from nas.kernels.triton_dot import dot


@triton.jit
def _routes_of_tile(
    route, table, b, h, n, H, NT, N, R, HAS_ROUTE: tl.constexpr, SUB: tl.constexpr, PACKED: tl.constexpr
):
    """Return the route of a tile's chunk and the tile's own route: the chunk's for its last tile, else 1."""
    r = 1.0
    r_here = 1.0
    if HAS_ROUTE:
        r = tl.load(route + (b * N + chunk_of_tile(table, n, SUB, PACKED)) * R + h // (H // R))
        r_here = r
        if SUB > 1:
            r_here = tl.where(ends_chunk(table, n, NT, SUB, PACKED), r, 1.0)
    return r, r_here


@triton.jit
def _chunk_borders(table, tile, n, NT, SUB: tl.constexpr, PACKED: tl.constexpr):
    """Return the first and the last tile of the chunk that contains ``tile``, the n-th of its head."""
    if PACKED:
        first, last = tile - n + tl.load(table + n * 8 + 3), tile - n + tl.load(table + n * 8 + 4)
    else:
        first = tile - n % SUB
        last = tl.minimum(first + SUB - 1, tile - n + NT - 1)
    return first, last


@triton.jit
def _transposed_scores(kq, whole, rest, scale, BT: tl.constexpr):
    """Compute P^T from k q^T, both [BT, BT] float32."""
    i = tl.arange(0, BT)
    between = (whole[None, :] - whole[:, None]) + (rest[None, :] - rest[:, None])
    return kq * tl.exp(tl.where(i[:, None] <= i[None, :], between, float("-inf"))) * scale


@triton.jit
def _load_transposed(pointer, BT: tl.constexpr):
    """Load the transpose of a contiguous [BT, BT] tile."""
    i = tl.arange(0, BT)
    return tl.load(pointer + i[None, :] * BT + i[:, None])


@triton.jit
def _differentiate_scores(dox, drx, whole, rest, scale, BT: tl.constexpr):
    """Compute the gradients of q k^T and of k k^T (without its rows' beta), [BT, BT], from do x^T and dR x^T."""
    i = tl.arange(0, BT)
    decay = decays(whole, rest, BT)
    return dox * decay * scale, tl.where(i[:, None] > i[None, :], -drx * decay, 0.0)


@triton.jit
def _store_gate_gradients(
    dg, dbeta, droute, c_in, dqk, dkk_unscaled, qk, kk, dbeta_tile, dc, gained,
    overlap, base_overlap, strength, kept, r, r_here, tile, start, end, table, T, H, NT, N,
    BT: tl.constexpr, SUB: tl.constexpr, HAS_ROUTE: tl.constexpr, FULL_ROUTE_GRAD: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Store dg and dbeta of one tile, and droute where a chunk ends.

    They follow from the sums over V and the gradients of the scores. ``gained`` [BT] is <gradient of the state after
    the tile, a token's contribution to that state> without the route. ``overlap`` and ``base_overlap`` are the same
    products with the states before the tile and before its chunk. ``kept`` is the decay over the tile. droute
    [B * H, N] gets, for each chunk, <gradient of the next chunk's state, the part of it that the route scales>.
    """
    i = tl.arange(0, BT)
    bh, n = tile // NT, tile % NT
    token = start + i
    gates = ((bh // H) * T + token) * H + bh % H
    inside = token < end
    tl.store(dbeta + gates, dbeta_tile + tl.sum(dkk_unscaled * kk, 1), mask=inside)

    pairs = dqk * qk + dkk_unscaled * strength[:, None] * kk
    dc += tl.sum(pairs, 1) - r_here * gained
    gained_sum = tl.sum(gained)
    kept_by = r_here
    if SUB == 1:
        kept_by = 1.0
    d_last = r_here * gained_sum + kept_by * kept * overlap
    if SUB > 1:
        kept_of_chunk = _kept_of_chunk(c_in, table, tile, n, NT, SUB, BT, PACKED)
        d_last += (1.0 - r) * kept_of_chunk * base_overlap
    # g_t is part of every c_i with i >= t; a decay between two tokens has c of the later minus c of the earlier token.
    dg_tile = tl.sum(tl.where(i[:, None] >= i[None, :], dc[:, None], 0.0), 0) + d_last
    dg_tile -= tl.sum(tl.where(i[:, None] <= i[None, :], tl.sum(pairs, 0)[None, :], 0.0), 1)
    tl.store(dg + gates, tl.where(_vanished(c_in, tile, BT), 0.0, dg_tile), mask=inside)
    if HAS_ROUTE and ends_chunk(table, n, NT, SUB, PACKED):
        added = gained_sum
        if SUB > 1:
            added += kept * overlap - kept_of_chunk * base_overlap
        if not FULL_ROUTE_GRAD:
            added = tl.where(r == 0.0, 0.0, added)
        tl.store(droute + bh * N + chunk_of_tile(table, n, SUB, PACKED), added)


@triton.jit
def _vanished(c_in, tile, BT: tl.constexpr):
    """Return whether the decay of each token of a tile [BT] is 0: its gradient is 0, not a rounding error."""
    i = tl.arange(0, BT)
    whole = tl.load(c_in + tile * 2 * BT + i)
    return whole - tl.load(c_in + tile * 2 * BT + i - 1, mask=i > 0, other=0.0) <= VANISHED


@triton.jit
def _kept_of_chunk(c_in, table, tile, n, NT, SUB: tl.constexpr, BT: tl.constexpr, PACKED: tl.constexpr):
    """Return the decay over all tiles of the chunk that contains ``tile``, the n-th of its head."""
    first = tl.load(table + n * 8 + 3) if PACKED else n - n % SUB
    there = first + tl.arange(0, SUB)
    end = c_in + (tile - n + there) * 2 * BT + BT - 1
    inside = there <= tl.load(table + n * 8 + 4) if PACKED else there < NT
    whole = tl.load(end, mask=inside, other=0.0)
    return tl.exp(tl.sum(whole, 0) + tl.sum(tl.load(end + BT, mask=inside, other=0.0), 0))


@triton.jit
def differentiate_values(
    q, k, v, beta, route, table, c_in, a_in, states, dstates, do, dv, x_out, dr_out, sums, overlaps,
    scale, T, H, NT, N, R,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr,
    SUB: tl.constexpr, GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, ADD: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute dv, the written vectors X and the gradient dR of beta (v - e^c k S), for one tile and BV columns.

    With ADD the result is added to the contents of dv.
    sums [V blocks, 3, B * H * NT * BT]: parts of dbeta, of the gradient of c, and of <dS, a token's contribution>.
    overlaps [V blocks, 2, B * H * NT]: <dS, S> of the tile, and of its whole chunk where it has several tiles.
    """
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    block = tl.program_id(0) % V_BLOCKS
    tile = (tl.program_id(0) // V_BLOCKS).to(tl.int64)
    tiles = (tl.num_programs(0) // V_BLOCKS).to(tl.int64)
    column = block * BV
    bh, n = tile // NT, tile % NT
    b, h = bh // H, bh % H
    start, end = place_tile(table, n, T, BT, PACKED)
    q += b * q_b + h // GROUP * q_h
    k += b * k_b + h // GROUP * k_h
    dtype = k.dtype.element_ty
    chunk_first, chunk_last = _chunk_borders(table, tile, n, NT, SUB, PACKED)
    ks = tl.zeros((BT, BV), tl.float32)
    qs = tl.zeros((BT, BV), tl.float32)
    kds = tl.zeros((BT, BV), tl.float32)
    kq = tl.zeros((BT, BT), tl.float32)
    overlap = 0.0
    chunk_overlap = 0.0
    for key in range(0, BK, BKB):
        k_tile = load_rows(k, start, end, k_t, key, K, BT, BKB)
        q_tile = load_rows(q, start, end, q_t, key, K, BT, BKB)
        s = load_rows(states + tile * K * V, key, K, V, column, V, BKB, BV)
        ds = load_rows(dstates + tile * K * V, key, K, V, column, V, BKB, BV)
        overlap += tl.sum(s.to(tl.float32) * ds.to(tl.float32))
        if SUB > 1:
            s_chunk = load_rows(states + chunk_first * K * V, key, K, V, column, V, BKB, BV)
            ds_chunk = load_rows(dstates + chunk_last * K * V, key, K, V, column, V, BKB, BV)
            chunk_overlap += tl.sum(s_chunk.to(tl.float32) * ds_chunk.to(tl.float32))
        ks = dot(k_tile, s, ks, PRECISION)
        qs = dot(q_tile, s, qs, PRECISION)
        kds = dot(k_tile, ds, kds, PRECISION)
        kq = dot(k_tile, tl.trans(q_tile), kq, PRECISION)
    tl.store(overlaps + block * 2 * tiles + tile, overlap)
    if SUB > 1:
        tl.store(overlaps + (block * 2 + 1) * tiles + tile, chunk_overlap)

    whole, rest = load_sums(c_in, tile, BT)
    to_end, _ = decays_to_end(c_in, tile, BT)
    strength = load_gates(beta, bh, start, end, H, BT)
    _, r_here = _routes_of_tile(route, table, b, h, n, H, NT, N, R, HAS_ROUTE, SUB, PACKED)
    from_start = tl.exp(whole + rest)
    sums += block * 3 * tiles * BT + tile * BT + tl.arange(0, BT)
    do_tile = load_rows(do + b * do_b + h * do_h, start, end, do_t, column, V, BT, BV)
    dc = tl.sum(do_tile * qs, 1) * (scale * from_start)
    v_tile = load_rows(v + b * v_b + h * v_h, start, end, v_t, column, V, BT, BV)
    a_tile = load_tile(a_in + tile * BT * BT, BT, BT)
    ks = ks * from_start[:, None]
    missing = v_tile - ks
    x = dot(a_tile, (missing * strength[:, None]).to(dtype), None, PRECISION)
    store_rows(x_out + tile * BT * V, x.to(dtype), 0, BT, V, column, V, BT, BV)
    kds = kds * to_end[:, None]
    tl.store(sums + 2 * tiles * BT, tl.sum(x * kds, 1))
    p_transposed = _transposed_scores(kq, whole, rest, scale, BT).to(dtype)
    dx = dot(p_transposed, do_tile, r_here * kds, PRECISION)
    dr = dot(_load_transposed(a_in + tile * BT * BT, BT), dx.to(dtype), None, PRECISION)
    store_rows(dr_out + tile * BT * V, dr.to(dtype), 0, BT, V, column, V, BT, BV)
    dv_tile = dr * strength[:, None]
    sum_rows(dv + (b * T * H + h) * V, dv_tile, start, end, H * V, column, V, BT, BV, ADD)
    tl.store(sums, tl.sum(dr * missing, 1))
    tl.store(sums + tiles * BT, dc - tl.sum(dv_tile * ks, 1))


@triton.jit
def _add_up(sums, overlaps, tile, tiles, V_BLOCKS, SUB: tl.constexpr, BT: tl.constexpr):
    """Sum the results of `differentiate_values` for a tile over the blocks of V: three [BT] and two numbers."""
    dbeta = tl.zeros((BT,), tl.float32)
    dc = tl.zeros((BT,), tl.float32)
    gained = tl.zeros((BT,), tl.float32)
    overlap = 0.0
    base_overlap = 0.0
    for block in range(V_BLOCKS):
        part = sums + block * 3 * tiles * BT + tile * BT + tl.arange(0, BT)
        dbeta += tl.load(part)
        dc += tl.load(part + tiles * BT)
        gained += tl.load(part + 2 * tiles * BT)
        overlap += tl.load(overlaps + block * 2 * tiles + tile)
        if SUB > 1:
            base_overlap += tl.load(overlaps + (block * 2 + 1) * tiles + tile)
    return dbeta, dc, gained, overlap, base_overlap


@triton.jit
def differentiate_keys(
    q, k, beta, route, table, c_in, states, dstates, do, x_in, dr_in, sums, overlaps,
    dq, dk, dg, dbeta, droute, scratch,
    scale, T, H, NT, N, R, V_BLOCKS,
    q_b, q_t, q_h, k_b, k_t, k_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr,
    SUB: tl.constexpr, GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, FULL_ROUTE_GRAD: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute BKB columns of dq and dk for one tile of one head of v.

    The first block of columns also sums dg, dbeta and droute.
    """
    K_BLOCKS: tl.constexpr = BK // BKB
    block = tl.program_id(0) % K_BLOCKS
    tile = (tl.program_id(0) // K_BLOCKS).to(tl.int64)
    tiles = (tl.num_programs(0) // K_BLOCKS).to(tl.int64)
    first_key = block * BKB
    bh, n = tile // NT, tile % NT
    b, h = bh // H, bh % H
    start, end = place_tile(table, n, T, BT, PACKED)
    q += b * q_b + h // GROUP * q_h
    k += b * k_b + h // GROUP * k_h
    do += b * do_b + h * do_h
    whole, rest = load_sums(c_in, tile, BT)
    to_end, kept = decays_to_end(c_in, tile, BT)
    strength = load_gates(beta, bh, start, end, H, BT)
    from_start = tl.exp(whole + rest)
    r, r_here = _routes_of_tile(route, table, b, h, n, H, NT, N, R, HAS_ROUTE, SUB, PACKED)
    to_end = r_here * to_end

    dq_tile = tl.zeros((BT, BKB), tl.float32)
    dk_tile = tl.zeros((BT, BKB), tl.float32)
    dox = tl.zeros((BT, BT), tl.float32)
    drx = tl.zeros((BT, BT), tl.float32)
    for column in tl.range(0, V, BV, num_stages=STAGES):
        do_tile = load_rows(do, start, end, do_t, column, V, BT, BV)
        x = load_rows(x_in + tile * BT * V, 0, BT, V, column, V, BT, BV)
        dr = load_rows(dr_in + tile * BT * V, 0, BT, V, column, V, BT, BV)
        s = load_rows(states + tile * K * V, first_key, K, V, column, V, BKB, BV)
        ds = load_rows(dstates + tile * K * V, first_key, K, V, column, V, BKB, BV)
        dox = dot(do_tile, tl.trans(x), dox, PRECISION)
        drx = dot(dr, tl.trans(x), drx, PRECISION)
        dq_tile = dot(do_tile, tl.trans(s), dq_tile, PRECISION)
        minus_dv = (dr * (-strength * from_start)[:, None]).to(dr.dtype)
        dk_tile = dot(minus_dv, tl.trans(s), dk_tile, PRECISION)
        x_to_end = (x * to_end[:, None]).to(x.dtype)
        dk_tile = dot(x_to_end, tl.trans(ds), dk_tile, PRECISION)

    dqk, dkk_unscaled = _differentiate_scores(dox, drx, whole, rest, scale, BT)
    k_tile = load_rows(k, start, end, k_t, first_key, K, BT, BKB)
    q_tile = load_rows(q, start, end, q_t, first_key, K, BT, BKB)
    dtype = k_tile.dtype
    dqk_low, dkk_low = dqk.to(dtype), (dkk_unscaled * strength[:, None]).to(dtype)
    # Transposed through memory: transposing a product's result in registers gives wrong code (see the top of the file).
    program = tl.program_id(0).to(tl.int64) * BT * BT
    second = tl.num_programs(0).to(tl.int64) * BT * BT
    store_tile(scratch + program, dqk_low, BT, BT)
    store_tile(scratch + second + program, dkk_low, BT, BT)
    tl.debug_barrier()
    dq_tile = dot(dqk_low, k_tile, dq_tile * (scale * from_start)[:, None], PRECISION)
    dk_tile = dot(dkk_low, k_tile, dk_tile, PRECISION)
    dk_tile = dot(_load_transposed(scratch + program, BT), q_tile, dk_tile, PRECISION)
    dk_tile = dot(_load_transposed(scratch + second + program, BT), k_tile, dk_tile, PRECISION)
    store_rows(dq + (b * T * H + h) * K, dq_tile.to(dq.dtype.element_ty), start, end, H * K, first_key, K, BT, BKB)
    store_rows(dk + (b * T * H + h) * K, dk_tile.to(dk.dtype.element_ty), start, end, H * K, first_key, K, BT, BKB)

    if block == 0:
        qk = tl.zeros((BT, BT), tl.float32)
        kk = tl.zeros((BT, BT), tl.float32)
        for key in range(0, K, BKB):
            k_tile = load_rows(k, start, end, k_t, key, K, BT, BKB)
            q_tile = load_rows(q, start, end, q_t, key, K, BT, BKB)
            qk = dot(q_tile, tl.trans(k_tile), qk, PRECISION)
            kk = dot(k_tile, tl.trans(k_tile), kk, PRECISION)
        dbeta_tile, dc, gained, overlap, base_overlap = _add_up(sums, overlaps, tile, tiles, V_BLOCKS, SUB, BT)
        _store_gate_gradients(
            dg, dbeta, droute, c_in, dqk, dkk_unscaled, qk, kk, dbeta_tile, dc, gained,
            overlap, base_overlap, strength, kept, r, r_here, tile, start, end, table, T, H, NT, N,
            BT, SUB, HAS_ROUTE, FULL_ROUTE_GRAD, PACKED,
        )  # fmt: skip
