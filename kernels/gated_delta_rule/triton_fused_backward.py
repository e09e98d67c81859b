"""Gradients of all inputs of a tile in one kernel, where one program can hold the tile's columns of K and its sums.

What `triton_backward.differentiate_values` and `differentiate_keys` hand to each other through memory, and what both
read there, is as much as the inputs: one program that does the work of both reads the states and their gradients once.
It needs the sums of dq and dk, all of their columns, in registers, so that wide heads are left to the two kernels.

With dq = do S^T e^c scale, the part of c's gradient that is the dot product of do and e^c scale q S is that of q and
dq, so q S is not computed. What dk gets from the transposed gradients of the scores is computed transposed, and turned
as a result: as a left operand it would be compiled wrongly (see `triton_backward`).
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from kernels.gated_delta_rule.triton_backward import (
    chunk_borders,
    differentiate_read,
    differentiate_scores,
    differentiate_written,
    load_transposed,
    routes_of_tile,
    store_gate_gradients,
    transposed_scores,
)
from kernels.gated_delta_rule.triton_tiles import load_gates, load_rows, load_tile, store_rows, sum_rows
from kernels.triton_dot import dot


@triton.jit
def differentiate(
    q, k, v, beta, route, c_in, a_in, states, dstates, do, dq, dk, dv, dg, dbeta, droute,
    scale, T, H, NT, N, R,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    HAS_ROUTE: tl.constexpr, FULL_ROUTE_GRAD: tl.constexpr, DECAY_SKIPPED: tl.constexpr, ADD: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Of one tile of one head: dq, dk [BT, K], dv [BT, V], dg and dbeta [BT], and droute where a chunk ends."""
    tile = tl.program_id(0).to(tl.int64)
    bh, n = tile // NT, tile % NT
    b, h = bh // H, bh % H
    start = n * BT
    v += b * v_b + h * v_h
    do += b * do_b + h * do_h
    q_tile = load_rows(q + b * q_b + h * q_h, start, T, q_t, 0, K, BT, BK)
    k_tile = load_rows(k + b * k_b + h * k_h, start, T, k_t, 0, K, BT, BK)
    dtype = k_tile.dtype
    c = tl.load(c_in + tile * BT + tl.arange(0, BT))
    c_last = tl.load(c_in + tile * BT + BT - 1)
    strength = load_gates(beta, bh, start, T, H, BT)
    r, r_here = routes_of_tile(route, b, h, n, H, NT, N, R, HAS_ROUTE, SUB)
    a_tile = load_tile(a_in + tile * BT * BT, BT, BT)
    a_transposed = load_transposed(a_in + tile * BT * BT, BT)
    p_transposed = transposed_scores(dot(k_tile, tl.trans(q_tile), None, PRECISION), c, scale, BT).to(dtype)

    dq_tile = tl.zeros((BT, BK), tl.float32)
    dk_tile = tl.zeros((BT, BK), tl.float32)
    dox = tl.zeros((BT, BT), tl.float32)
    drx = tl.zeros((BT, BT), tl.float32)
    dbeta_tile = tl.zeros((BT,), tl.float32)
    dc = tl.zeros((BT,), tl.float32)
    gained = tl.zeros((BT,), tl.float32)
    overlap = tl.zeros((BK,), tl.float32)  # row by row: threads of several warps wait for each other once, not in turn
    for column in tl.range(0, V, BV, num_stages=STAGES):
        s = load_rows(states + tile * K * V, 0, K, V, column, V, BK, BV)
        ds = load_rows(dstates + tile * K * V, 0, K, V, column, V, BK, BV)
        v_tile = load_rows(v, start, T, v_t, column, V, BT, BV)
        do_tile = load_rows(do, start, T, do_t, column, V, BT, BV)
        ks = dot(k_tile, s, None, PRECISION)
        kds = dot(k_tile, ds, None, PRECISION)
        x, dr, dv_tile, dbeta_part, dc_part, gained_part = differentiate_written(
            ks, kds, v_tile, do_tile, a_tile, a_transposed, p_transposed, c, c_last, strength, r_here, PRECISION
        )
        sum_rows(dv + (b * T * H + h) * V, dv_tile, start, T, H * V, column, V, BT, BV, ADD)
        dbeta_tile += dbeta_part
        dc += dc_part
        gained += gained_part
        overlap += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
        dox, drx, dq_tile, dk_tile = differentiate_read(
            do_tile, x, dr, s, ds, c, c_last, strength, r_here, dox, drx, dq_tile, dk_tile, PRECISION
        )

    dq_tile = dq_tile * (scale * tl.exp(c))[:, None]
    dc += tl.sum(q_tile * dq_tile, 1)
    dqk, dkk_unscaled = differentiate_scores(dox, drx, c, scale, BT)
    dqk_low, dkk_low = dqk.to(dtype), (dkk_unscaled * strength[:, None]).to(dtype)
    dq_tile = dot(dqk_low, k_tile, dq_tile, PRECISION)
    store_rows(dq + (b * T * H + h) * K, dq_tile.to(dq.dtype.element_ty), start, T, H * K, 0, K, BT, BK)
    dk_transposed = dot(tl.trans(q_tile), dqk_low, None, PRECISION)
    dk_transposed = dot(tl.trans(k_tile), dkk_low, dk_transposed, PRECISION)
    dk_tile = dot(dkk_low, k_tile, dk_tile, PRECISION) + tl.trans(dk_transposed)
    store_rows(dk + (b * T * H + h) * K, dk_tile.to(dk.dtype.element_ty), start, T, H * K, 0, K, BT, BK)

    base_overlap = 0.0
    if SUB > 1:
        first, last = chunk_borders(tile, n, NT, SUB)
        base = tl.zeros((BK,), tl.float32)
        for column in range(0, V, BV):
            s = load_rows(states + first * K * V, 0, K, V, column, V, BK, BV)
            ds = load_rows(dstates + last * K * V, 0, K, V, column, V, BK, BV)
            base += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
        base_overlap = tl.sum(base)
    qk = dot(q_tile, tl.trans(k_tile), None, PRECISION)
    kk = dot(k_tile, tl.trans(k_tile), None, PRECISION)
    store_gate_gradients(
        dg, dbeta, droute, c_in, dqk, dkk_unscaled, qk, kk, dbeta_tile, dc, gained, tl.sum(overlap), base_overlap,
        strength, c_last, r, r_here, tile, T, H, NT, N, BT, SUB, HAS_ROUTE, FULL_ROUTE_GRAD, DECAY_SKIPPED,
    )  # fmt: skip
