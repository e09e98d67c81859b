"""Backward scan of the gated delta rule: the gradient of the state, from the last tile of a sequence to the first.

With the notation of `triton_forward`, and dS the gradient of the state after a tile::

    dX = scale P^T do + e^{c_last - c} k dS
    dR = A^T dX
    dS_before = e^{c_last} dS + (scale e^c q)^T do - (beta e^c k)^T dR

`scan_back` needs no state. Started from zeros it computes what a segment adds to the gradient that passes through it
(the linear map is the transpose of the forward map).
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import (
    decays_to_end,
    decays_transposed,
    gates_of_tiles,
    load_block,
    load_gates_of_tile,
    load_rows,
    matrix,
    place_segment,
    store_rows,
)
from nas.kernels.triton_dot import dot


@triton.jit
def scan_back(
    q, k, do, route, table, reach, gates_in, a_in, ends, final, dstates, dr_out, starts,
    scale, T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    q_b, q_t, q_h, k_b, k_t, k_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, HAS_END: tl.constexpr, HAS_FINAL: tl.constexpr,
    HAS_INITIAL: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr, TMA: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Scan the state's gradient backwards through one segment of one head, BV of its columns.

    ``ends`` [B * H, SEGMENTS, K, V] holds the gradient after each segment (zeros without HAS_END). With SAVE the
    gradient after each tile goes to ``dstates``, and dR to ``dr_out``. The one before each segment goes to ``starts``.
    Without SAVE, tiles whose gradient does not show there, see `triton_reach`, are left out.

    Of packed documents the segments below SPLIT begin from ``ends``, the others from ``final``, if given.
    With SAVE, ``starts`` [documents, H, K, V] gets the gradients of the initial states, with HAS_INITIAL.
    """
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    column = (tl.program_id(0) % V_BLOCKS) * BV
    segment = (tl.program_id(0) // V_BLOCKS) % SEGMENTS
    bh = (tl.program_id(0) // (V_BLOCKS * SEGMENTS)).to(tl.int64)
    b, h = bh // H, bh % H
    q += b * q_b + h // GROUP * q_h
    k += b * k_b + h // GROUP * k_h
    do += b * do_b + h * do_h
    dstate = tl.zeros((BK, BV), tl.float32)
    if PACKED:
        part = (bh * SPLIT + segment) * K * V
        of_document = (tl.load(table + segment * 8 + 5) * H + h) * K * V
        if HAS_END:
            rows = tl.where(segment < SPLIT, K, 0)
            dstate += load_rows(ends + part, 0, rows, V, column, V, BK, BV)
        if HAS_FINAL:
            dstate += load_rows(final + of_document, 0, tl.where(segment < SPLIT, 0, K), V, column, V, BK, BV)
    else:
        part = (bh * SEGMENTS + segment) * K * V
        if HAS_END:
            dstate += load_rows(ends + part, 0, K, V, column, V, BK, BV)
    dbase = dstate
    first, last, origin, token, chunk, end, last_tile = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    if not SAVE:
        last = tl.load(reach + (bh * SEGMENTS + segment) * 2)
    if SAVE:
        rows = tl.where(first < last, K, 0)
        store_rows(dstates + (bh * NT + last - 1) * K * V, dstate.to(k.dtype.element_ty), 0, rows, V, column, V, BK, BV)
    q_rows = matrix(q, end, q_t, K, BT, BK, TMA)
    k_rows = matrix(k, end, k_t, K, BT, BK, TMA)
    do_rows = matrix(do, end, do_t, V, BT, BV, TMA)
    a_rows = matrix(a_in + bh * NT * BT * BT, NT * BT, BT, BT, BT, BT, TMA)
    gates = gates_of_tiles(gates_in + bh * NT * 3 * BT, NT, BT, TMA)
    for step in tl.range(0, last - first, num_stages=STAGES):
        n = last - 1 - step
        tile = bh * NT + n
        r = 1.0
        if HAS_ROUTE:
            r = tl.load(route + (b * N + chunk + (n - origin) // SUB) * R + h // (H // R))
        start = token + (n - origin) * BT
        q_tile = load_block(q_rows, start, end, q_t, 0, K, BT, BK, TMA)
        k_tile = load_block(k_rows, start, end, k_t, 0, K, BT, BK, TMA)
        do_tile = load_block(do_rows, start, end, do_t, column, V, BT, BV, TMA)
        a_tile = load_block(a_rows, n * BT, NT * BT, BT, 0, BT, BT, BT, TMA)
        whole, rest, strength = load_gates_of_tile(gates, n, BT, TMA)
        to_end, kept = decays_to_end(gates_in, tile, whole, rest, BT)
        from_start = tl.exp(whole + rest)
        dtype = k_tile.dtype
        if SUB == 1:
            to_end = to_end * r
        else:
            last_of_chunk = ((n - origin) % SUB == SUB - 1) | (n == last_tile)
            dbase = tl.where(last_of_chunk, (1.0 - r) * dstate, dbase)
            dstate = tl.where(last_of_chunk, r * dstate, dstate)
            dbase = dbase * kept
        scores = dot(k_tile, tl.trans(q_tile), None, PRECISION) * decays_transposed(whole, rest, start, BT) * scale
        dx = dot(k_tile, dstate.to(dtype), None, PRECISION) * to_end[:, None]
        dx = dot(scores.to(dtype), do_tile, dx, PRECISION)
        dr = dot(tl.trans(a_tile), dx.to(dtype), None, PRECISION)
        if SAVE:
            store_rows(dr_out + tile * BT * V, dr.to(dtype), 0, BT, V, column, V, BT, BV)
        do_scaled = (do_tile * (scale * from_start)[:, None]).to(dtype)
        dstate = dot(tl.trans(q_tile), do_scaled, dstate * kept, PRECISION)
        dr_scaled = (dr * (-strength * from_start)[:, None]).to(dtype)
        dstate = dot(tl.trans(k_tile), dr_scaled, dstate, PRECISION)
        if SUB > 1:
            dstate = tl.where((n - origin) % SUB == 0, dstate + dbase, dstate)
        if SAVE and n > first:
            store_rows(dstates + (tile - 1) * K * V, dstate.to(dtype), 0, K, V, column, V, BK, BV)
    if PACKED and SAVE:
        if HAS_INITIAL and tl.load(table + segment * 8 + 6) != 0:
            store_rows(starts + of_document, dstate, 0, K, V, column, V, BK, BV)
    else:
        store_rows(starts + part, dstate, 0, K, V, column, V, BK, BV)
