"""Backward pass of the gated delta rule after the scan of the state's gradient: one kernel, parallel over tiles.

With the notation of `triton_forward`, dS the gradient of the state after a tile, and dR from `triton_scan_back`, let::

    dM = scale D * (do X^T)                             the gradient of q k^T
    dL = -D * (dR X^T) below the diagonal, else 0       the gradient of k k^T, without beta
    e  = -e^c dR S^T + dL k                             the gradient of k where it reads the state, without beta
    w  = e^{c_last - c} X dS^T + dM^T q + (beta dL)^T k    the gradient of k where it writes to the state

Then dq = scale e^c do S^T + dM k, dk = beta e + w, dv = beta dR, dbeta = dR . v + k . e for each token, and the
gradient of c, in which each of q, k as reader and 1 / k as writer has a factor e^c, is q . dq + beta k . e - k . w.

dM^T and dL^T are products of their own: no left operand of a product is the transpose of another product's result,
which Triton 3.4 to 3.7 compiles wrongly for Hopper (flash-linear-attention#640).
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import (
    VANISHED,
    chunk_of_tile,
    decays,
    decays_to_end,
    decays_transposed,
    ends_chunk,
    load_gates_of_tile,
    load_last_sums,
    load_rows,
    place_tile,
    store_rows,
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
def _vanished(gates_in, tile, BT: tl.constexpr):
    """Return whether the decay of each token of a tile [BT] is 0: its gradient is 0, not a rounding error."""
    i = tl.arange(0, BT)
    whole = tl.load(gates_in + tile * 3 * BT + i)
    return whole - tl.load(gates_in + tile * 3 * BT + i - 1, mask=i > 0, other=0.0) <= VANISHED


@triton.jit
def _kept_of_chunk(gates_in, table, tile, n, NT, SUB: tl.constexpr, BT: tl.constexpr, PACKED: tl.constexpr):
    """Return the decay over all tiles of the chunk that contains ``tile``, the n-th of its head."""
    first = tl.load(table + n * 8 + 3) if PACKED else n - n % SUB
    there = first + tl.arange(0, SUB)
    end = gates_in + (tile - n + there) * 3 * BT + BT - 1
    inside = there <= tl.load(table + n * 8 + 4) if PACKED else there < NT
    whole = tl.load(end, mask=inside, other=0.0)
    return tl.exp(tl.sum(whole, 0) + tl.sum(tl.load(end + BT, mask=inside, other=0.0), 0))


@triton.jit
def differentiate(
    q, k, v, route, table, gates_in, x_in, states, dstates, do, dr_in, dq, dk, dv, sums, overlaps,
    scale, T, H, NT, N, R, FIRST, COUNT,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr,
    SUB: tl.constexpr, GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, ADD: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute dq, or dk and dv, of one tile of one head of v; with ADD dv is added to its contents.

    Both programs of a tile run one after the other, so that what they both load stays in the L2 cache. Of packed
    documents a launch takes COUNT tiles of each head, from FIRST on in the table's order. The results for the gates go
    to `differentiate_gates`:

    sums [4, B * H * NT * BT]: q . dq; -k . w; and both parts of dbeta, dR . v and k . e.
    overlaps [3, B * H * NT]: <dS, what the tile writes to the state> without the route; <dS, S>; and the same product
    with the states after and before the chunk, where it has several tiles.
    """
    bh, n = (tl.program_id(0) // 2).to(tl.int64) // COUNT, tl.program_id(0) // 2 % COUNT
    tiles = (tl.num_programs(0) // 2).to(tl.int64) // COUNT * NT
    if PACKED:
        n = tl.load(table + (FIRST + n) * 8 + 5)
    tile = bh * NT + n
    b, h = bh // H, bh % H
    start, end = place_tile(table, n, T, BT, PACKED)
    q += b * q_b + h // GROUP * q_h
    k += b * k_b + h // GROUP * k_h
    do += b * do_b + h * do_h
    states += tile * K * V
    dstates += tile * K * V
    x_in += tile * BT * V
    gates_in += tile * 3 * BT
    sums += tile * BT + tl.arange(0, BT)
    if tl.program_id(0) % 2 == 0:
        _differentiate_queries(
            q, k, gates_in, x_in, states, do, dq + (b * T * H + h) * K, sums,
            scale, start, end, H, q_t, k_t, do_t, K, V, BK, BKB, BV, BT, PRECISION, STAGES,
        )  # fmt: skip
    else:
        dr_in += tile * BT * V
        dv += (b * T * H + h) * V
        _, r_here = _routes_of_tile(route, table, b, h, n, H, NT, N, R, HAS_ROUTE, SUB, PACKED)
        _differentiate_keys(
            q, k, gates_in, x_in, states, dstates, do, dr_in, dk + (b * T * H + h) * K,
            sums, overlaps + tile, tiles, r_here,
            scale, start, end, H, q_t, k_t, do_t, K, V, BK, BKB, BV, BT, PRECISION, STAGES,
        )  # fmt: skip
        if SUB > 1:
            first, last = _chunk_borders(table, tile, n, NT, SUB, PACKED)
            overlap = _overlap(states + (first - tile) * K * V, dstates + (last - tile) * K * V, K, V, BK, BKB, BV)
            tl.store(overlaps + 2 * tiles + tile, overlap)
        strength = tl.load(gates_in + 2 * BT + tl.arange(0, BT))
        valued = tl.zeros((BT,), tl.float32)
        for column in range(0, V, BV):
            v_tile = load_rows(v + b * v_b + h * v_h, start, end, v_t, column, V, BT, BV)
            dr = load_rows(dr_in, 0, BT, V, column, V, BT, BV).to(tl.float32)
            valued += tl.sum(dr * v_tile, 1)
            sum_rows(dv, dr * strength[:, None], start, end, H * V, column, V, BT, BV, ADD)
        tl.store(sums + 2 * tiles * BT, valued)


@triton.jit
def _overlap(states, dstates, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr):
    """Compute the sum of the products of two matrices [K, V]."""
    overlap = 0.0
    for key in range(0, BK, BKB):
        for column in range(0, V, BV):
            s = load_rows(states, key, K, V, column, V, BKB, BV)
            ds = load_rows(dstates, key, K, V, column, V, BKB, BV)
            overlap += tl.sum(s.to(tl.float32) * ds.to(tl.float32))
    return overlap


@triton.jit
def _differentiate_queries(
    q, k, gates_in, x_in, states, do, dq, sums,
    scale, start, end, H, q_t, k_t, do_t,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute dq of a tile, and q . dq."""
    read = tl.zeros((BT,), tl.float32)
    for first_key in range(0, BK, BKB):
        scores = tl.zeros((BT, BT), tl.float32)
        total = tl.zeros((BT, BKB), tl.float32)
        for column in tl.range(0, V, BV, num_stages=STAGES):
            x = load_rows(x_in, 0, BT, V, column, V, BT, BV)
            s = load_rows(states, first_key, K, V, column, V, BKB, BV)
            do_tile = load_rows(do, start, end, do_t, column, V, BT, BV)
            scores = dot(do_tile, tl.trans(x), scores, PRECISION)
            total = dot(do_tile, tl.trans(s), total, PRECISION)
        whole, rest, _ = load_gates_of_tile(gates_in, 0, BT, False)
        k_tile = load_rows(k, start, end, k_t, first_key, K, BT, BKB)
        scores *= decays(whole, rest, start, BT) * scale
        total *= (scale * tl.exp(whole + rest))[:, None]
        total = dot(scores.to(k_tile.dtype), k_tile, total, PRECISION)
        q_tile = load_rows(q, start, end, q_t, first_key, K, BT, BKB)
        read += tl.sum(total * q_tile, 1)
        store_rows(dq, total.to(dq.dtype.element_ty), start, end, H * K, first_key, K, BT, BKB)
    tl.store(sums, read)


@triton.jit
def _differentiate_keys(
    q, k, gates_in, x_in, states, dstates, do, dr_in, dk, sums, overlaps, tiles, r_here,
    scale, start, end, H, q_t, k_t, do_t,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute dk of a tile; store results for the gates.

    beta e and then w are added up in dk, one after the other: both at once would not fit in the registers.
    """
    dtype = k.dtype.element_ty
    i = start + tl.arange(0, BT)
    dc = tl.zeros((BT,), tl.float32)
    dbeta = tl.zeros((BT,), tl.float32)
    gained = tl.zeros((BT,), tl.float32)
    overlap = 0.0
    for first_key in range(0, BK, BKB):
        scores = tl.zeros((BT, BT), tl.float32)
        total = tl.zeros((BT, BKB), tl.float32)
        for column in tl.range(0, V, BV, num_stages=STAGES):
            x = load_rows(x_in, 0, BT, V, column, V, BT, BV)
            s = load_rows(states, first_key, K, V, column, V, BKB, BV)
            dr = load_rows(dr_in, 0, BT, V, column, V, BT, BV)
            scores = dot(dr, tl.trans(x), scores, PRECISION)
            total = dot(dr, tl.trans(s), total, PRECISION)
            ds = load_rows(dstates, first_key, K, V, column, V, BKB, BV)
            overlap += tl.sum(s.to(tl.float32) * ds.to(tl.float32))
        whole, rest, strength = load_gates_of_tile(gates_in, 0, BT, False)
        k_tile = load_rows(k, start, end, k_t, first_key, K, BT, BKB)
        scores = tl.where(i[:, None] > i[None, :], -scores * decays(whole, rest, start, BT), 0.0)
        total = dot(scores.to(dtype), k_tile, total * -tl.exp(whole + rest)[:, None], PRECISION)
        dbeta += tl.sum(total * k_tile, 1)
        total = (total * strength[:, None]).to(dk.dtype.element_ty)
        store_rows(dk, total, start, end, H * K, first_key, K, BT, BKB)
        tl.debug_barrier()  # other threads add to the values stored here

        scores = tl.zeros((BT, BT), tl.float32)
        total = tl.zeros((BT, BKB), tl.float32)
        for column in tl.range(0, V, BV, num_stages=STAGES):
            x = load_rows(x_in, 0, BT, V, column, V, BT, BV)
            dr = load_rows(dr_in, 0, BT, V, column, V, BT, BV)
            ds = load_rows(dstates, first_key, K, V, column, V, BKB, BV)
            scores = dot(x, tl.trans(dr), scores, PRECISION)
            total = dot(x, tl.trans(ds), total, PRECISION)
        whole, rest, strength = load_gates_of_tile(gates_in, 0, BT, False)
        to_end, _ = decays_to_end(gates_in, 0, whole, rest, BT)
        k_tile = load_rows(k, start, end, k_t, first_key, K, BT, BKB)
        gained += tl.sum(total * k_tile, 1) * to_end
        scores *= decays_transposed(whole, rest, start, BT)
        scores = tl.where(i[:, None] < i[None, :], scores * -strength[None, :], 0.0)
        total = dot(scores.to(dtype), k_tile, total * (r_here * to_end)[:, None], PRECISION)
        tl.debug_barrier()  # loads the gates anew below, instead of keeping them in registers

        scores = tl.zeros((BT, BT), tl.float32)
        for column in tl.range(0, V, BV, num_stages=STAGES):
            x = load_rows(x_in, 0, BT, V, column, V, BT, BV)
            do_tile = load_rows(do, start, end, do_t, column, V, BT, BV)
            scores = dot(x, tl.trans(do_tile), scores, PRECISION)
        whole, rest, _ = load_gates_of_tile(gates_in, 0, BT, False)
        scores *= decays_transposed(whole, rest, start, BT) * scale
        q_tile = load_rows(q, start, end, q_t, first_key, K, BT, BKB)
        total = dot(scores.to(dtype), q_tile, total, PRECISION)
        k_tile = load_rows(k, start, end, k_t, first_key, K, BT, BKB)
        dc -= tl.sum(total * k_tile, 1)
        sum_rows(dk, total, start, end, H * K, first_key, K, BT, BKB, True)
    tl.store(sums + tiles * BT, dc)
    tl.store(sums + 3 * tiles * BT, dbeta)
    tl.store(overlaps, tl.sum(gained))
    tl.store(overlaps + tiles, overlap)


@triton.jit
def differentiate_gates(
    route, table, gates_in, sums, overlaps, dg, dbeta, droute, T, H, NT, N, R,
    BT: tl.constexpr, SUB: tl.constexpr, HAS_ROUTE: tl.constexpr, FULL_ROUTE_GRAD: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Compute dg and dbeta of one tile, and droute where a chunk ends, from the results of `differentiate`.

    droute [B * H, N] gets, for each chunk, <gradient of the next chunk's state, the part of it that the route scales>.
    """
    tile = tl.program_id(0).to(tl.int64)
    tiles = tl.num_programs(0).to(tl.int64)
    bh, n = tile // NT, tile % NT
    b, h = bh // H, bh % H
    start, end = place_tile(table, n, T, BT, PACKED)
    r, r_here = _routes_of_tile(route, table, b, h, n, H, NT, N, R, HAS_ROUTE, SUB, PACKED)
    i = tl.arange(0, BT)
    token = start + i
    at = (b * T + token) * H + h
    inside = token < end
    sums += tile * BT + i
    read = tl.load(sums + 3 * tiles * BT)
    tl.store(dbeta + at, tl.load(sums + 2 * tiles * BT) + read, mask=inside)
    dc = tl.load(sums) + tl.load(sums + tiles * BT) + tl.load(gates_in + (tile * 3 + 2) * BT + i) * read
    gained = tl.load(overlaps + tile)
    overlap = tl.load(overlaps + tiles + tile)
    whole, rest = load_last_sums(gates_in, tile, BT)
    overlap *= tl.exp(whole + rest)
    if SUB == 1:
        d_last = r_here * gained + overlap
    else:
        of_chunk = tl.load(overlaps + 2 * tiles + tile)
        of_chunk *= _kept_of_chunk(gates_in, table, tile, n, NT, SUB, BT, PACKED)
        d_last = r_here * (gained + overlap) + (1.0 - r) * of_chunk
    dg_tile = tl.sum(tl.where(i[:, None] >= i[None, :], dc[:, None], 0.0), 0) + d_last  # g_t is in each c_i, i >= t
    tl.store(dg + at, tl.where(_vanished(gates_in, tile, BT), 0.0, dg_tile), mask=inside)
    if HAS_ROUTE and ends_chunk(table, n, NT, SUB, PACKED):
        if SUB > 1:
            gained += overlap - of_chunk
        if not FULL_ROUTE_GRAD:
            gained = tl.where(r == 0.0, 0.0, gained)
        tl.store(droute + bh * N + chunk_of_tile(table, n, SUB, PACKED), gained)
