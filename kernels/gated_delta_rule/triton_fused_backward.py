"""Gradients of all inputs of a tile in one kernel, where one program can hold the tile's columns of K and its sums.

What `triton_backward.differentiate_values` and `differentiate_keys` hand to each other through memory, and what both
read there, is as much as the inputs: one program that does the work of both reads the states and their gradients once.
It needs sums for all columns of dq and dk in registers, so that wide heads are left to the two kernels.

Triton gives every warp rows of its own in a product that another one reads, and tiles have too few tokens for two warp
groups. Hence X, dX and dR are computed transposed, with columns of V as rows: X^T = v^T (A diag(beta))^T + S^T w^T, as
the forward pass has it. No operand is then the transpose of a product's result (see `triton_backward`), and factors of
single tokens, which every thread would have to hold for all of its columns, are put into operands.

Other sums over V follow from those that dq and dk need anyway, S dR^T and dS X^T (with ' for the transpose)::

    dR X' = A' dX X' = A' (P' (do X') + e^{c_last - c} k (dS X'))
    <do, q S> = <q, do S'>          <dR, k S> = <k, dR S'>          <X, k dS> = <k, X dS'>
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from kernels.gated_delta_rule.triton_backward import (
    chunk_borders,
    differentiate_scores,
    load_transposed,
    routes_of_tile,
    store_gate_gradients,
    transposed_scores,
)
from kernels.gated_delta_rule.triton_tiles import decays, load_gates, load_rows, load_tile, store_rows, sum_rows
from kernels.triton_dot import dot


@triton.jit
def differentiate(
    q, k, v, beta, route, c_in, a_in, w_in, states, dstates, do, dq, dk, dv, dg, dbeta, droute,
    scale, T, H, NT, N, R,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    HAS_ROUTE: tl.constexpr, FULL_ROUTE_GRAD: tl.constexpr, DECAY_SKIPPED: tl.constexpr, ADD: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Of one tile of one head: dq, dk [BT, K], dv [BT, V], dg and dbeta [BT], and droute where a chunk ends.

    With ADD dv is added to what is there. In the loop x, dx and dr are [BV, BT]; sdr and dsx [BK, BT] are S dR^T and
    dS X^T, dox and vdr [BT, BT] do X^T and v dR^T, each without the tokens' factors.
    """
    tile = tl.program_id(0).to(tl.int64)
    bh, n = tile // NT, tile % NT
    b, h = bh // H, bh % H
    start = n * BT
    q += b * q_b + h * q_h
    k += b * k_b + h * k_h
    v += b * v_b + h * v_h
    do += b * do_b + h * do_h
    q_tile = load_rows(q, start, T, q_t, 0, K, BT, BK)
    k_tile = load_rows(k, start, T, k_t, 0, K, BT, BK)
    dtype = k_tile.dtype
    i = tl.arange(0, BT)
    c = tl.load(c_in + tile * BT + i)
    c_last = tl.load(c_in + tile * BT + BT - 1)
    strength = load_gates(beta, bh, start, T, H, BT)
    r, r_here = routes_of_tile(route, b, h, n, H, NT, N, R, HAS_ROUTE, SUB)
    p = (dot(q_tile, tl.trans(k_tile), None, PRECISION) * decays(c, BT) * scale).to(dtype)
    k_to_end = (k_tile * tl.exp(c_last - c)[:, None]).to(dtype)
    w_tile = load_tile(w_in + tile * BT * BK, BT, BK)
    a_tile = load_tile(a_in + tile * BT * BT, BT, BT)
    a_transposed = load_transposed(a_in + tile * BT * BT, BT)
    a_beta = (a_tile * strength[None, :]).to(dtype)
    a_beta_transposed = (a_transposed * strength[:, None]).to(dtype)

    dq_tile = tl.zeros((BT, BK), tl.float32)
    dox = tl.zeros((BT, BT), tl.float32)
    sdr = tl.zeros((BK, BT), tl.float32)
    dsx = tl.zeros((BK, BT), tl.float32)
    vdr = tl.zeros((BT, BT), tl.float32)
    # Sums of rows are kept by row: a sum over all of them would make the warps wait for each other at every step.
    overlap = tl.zeros((BK,), tl.float32)
    gained_sum = tl.zeros((BV,), tl.float32)
    for column in tl.range(0, V, BV, num_stages=STAGES):
        s = load_rows(states + tile * K * V, 0, K, V, column, V, BK, BV)
        ds = load_rows(dstates + tile * K * V, 0, K, V, column, V, BK, BV)
        overlap += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
        v_tile = load_rows(v, start, T, v_t, column, V, BT, BV)
        do_tile = load_rows(do, start, T, do_t, column, V, BT, BV)
        x = dot(tl.trans(v_tile), a_beta_transposed, None, PRECISION)
        x = dot(tl.trans(s), tl.trans(w_tile), x, PRECISION)
        kds = dot(tl.trans(ds), tl.trans(k_to_end), None, PRECISION)
        gained_sum += tl.sum(x * kds, 1)
        x_low = x.to(dtype)
        dx = dot(tl.trans(do_tile), p, r_here * kds, PRECISION)
        dx_low = dx.to(dtype)
        dv_tile = tl.trans(dot(dx_low, a_beta, None, PRECISION).to(dv.dtype.element_ty))
        dr_low = dot(dx_low, a_tile, None, PRECISION).to(dtype)
        vdr = dot(v_tile, dr_low, vdr, PRECISION)
        sum_rows(dv + (b * T * H + h) * V, dv_tile, start, T, H * V, column, V, BT, BV, ADD)
        dox = dot(do_tile, x_low, dox, PRECISION)
        dq_tile = dot(do_tile, tl.trans(s), dq_tile, PRECISION)
        sdr = dot(s, dr_low, sdr, PRECISION)
        dsx = dot(ds, x_low, dsx, PRECISION)

    # Loaded again, so that neither they nor what is made of them takes registers during the loop.
    q_tile = load_rows(q, start, T, q_t, 0, K, BT, BK)
    k_tile = load_rows(k, start, T, k_t, 0, K, BT, BK)
    c = tl.load(c_in + tile * BT + i)
    strength = load_gates(beta, bh, start, T, H, BT)
    from_start = tl.exp(c)
    to_end = tl.exp(c_last - c)
    k_turned = tl.trans(k_tile)
    read = from_start * tl.sum(k_turned * sdr, 0)
    gained = to_end * tl.sum(k_turned * dsx, 0)
    dxx = dot(k_tile, dsx.to(dtype), None, PRECISION) * (r_here * to_end)[:, None]
    dk_turned = dsx * (r_here * to_end)[None, :] - sdr * (strength * from_start)[None, :]
    dbeta_tile = tl.sum(tl.where(i[:, None] == i[None, :], vdr, 0.0), 1) - read
    dq_tile = dq_tile * (scale * from_start)[:, None]
    dc = tl.sum(q_tile * dq_tile, 1) - strength * read
    p_transposed = transposed_scores(dot(k_tile, tl.trans(q_tile), None, PRECISION), c, scale, BT).to(dtype)
    dxx = dot(p_transposed, dox.to(dtype), dxx, PRECISION)
    drx = dot(a_transposed, dxx.to(dtype), None, PRECISION)
    dqk, dkk_unscaled = differentiate_scores(dox, drx, c, scale, BT)
    dqk_low, dkk_low = dqk.to(dtype), (dkk_unscaled * strength[:, None]).to(dtype)
    dq_tile = dot(dqk_low, k_tile, dq_tile, PRECISION)
    store_rows(dq + (b * T * H + h) * K, dq_tile.to(dq.dtype.element_ty), start, T, H * K, 0, K, BT, BK)
    dk_turned = dot(tl.trans(q_tile), dqk_low, dk_turned, PRECISION)
    dk_turned = dot(tl.trans(k_tile), dkk_low, dk_turned, PRECISION)
    dk_tile = dot(dkk_low, k_tile, None, PRECISION) + tl.trans(dk_turned)
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
        dg, dbeta, droute, c_in, dqk, dkk_unscaled, qk, kk, dbeta_tile, dc, gained, tl.sum(gained_sum),
        tl.sum(overlap), base_overlap, strength, c_last, r, r_here, tile, T, H, NT, N,
        BT, SUB, HAS_ROUTE, FULL_ROUTE_GRAD, DECAY_SKIPPED,
    )  # fmt: skip
