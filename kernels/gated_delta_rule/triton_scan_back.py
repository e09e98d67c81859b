"""Backward scan of the gated delta rule: the gradient of the state, from the last tile of a sequence to the first.

With the notation of `triton_forward`, and dS the gradient of the state after a tile::

    dS_before = e^{c_last} dS + q'^T do + w^T (e^{c_last - c} k dS)

`scan_back` needs only q', w and k of a tile. Started from zeros it computes what a segment adds to the gradient that
passes through it (the linear map is the transpose of the forward map).
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import (
    decays_to_end,
    load_rows,
    load_tile,
    place_segment,
    store_rows,
)
from nas.kernels.triton_dot import dot


@triton.jit
def scan_back(
    k, do, route, table, c_in, w_in, q_in, ends, final, dstates, starts,
    HEADS, T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    k_b, k_t, k_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, HAS_END: tl.constexpr, HAS_FINAL: tl.constexpr,
    HAS_INITIAL: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr, LOOP: tl.constexpr,
):  # fmt: skip
    """Scan the state's gradient backwards through every segment of every head, BV of its columns at a time.

    ``ends`` [B * H, SEGMENTS, K, V] holds the gradient after each segment (zeros without HAS_END). With SAVE the
    gradient after each tile goes to ``dstates``; the one before each segment goes to ``starts``.

    Of packed documents the segments below SPLIT begin from ``ends``, the others from ``final``, if given.
    With SAVE, ``starts`` [documents, H, K, V] gets the gradients of the initial states, with HAS_INITIAL.
    """
    if LOOP:
        works = (V + BV - 1) // BV * SEGMENTS * HEADS
        for work in tl.range(tl.program_id(0), works, tl.num_programs(0), num_stages=1):
            _scan_segment_back(
                work, k, do, route, table, c_in, w_in, q_in, ends, final, dstates, starts,
                T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT, k_b, k_t, k_h, do_b, do_t, do_h,
                K, V, BK, BV, BT, SUB, GROUP, HAS_ROUTE, HAS_END, HAS_FINAL, HAS_INITIAL, SAVE, PACKED,
                PRECISION, STAGES,
            )  # fmt: skip
    else:
        _scan_segment_back(
            tl.program_id(0), k, do, route, table, c_in, w_in, q_in, ends, final, dstates, starts,
            T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT, k_b, k_t, k_h, do_b, do_t, do_h,
            K, V, BK, BV, BT, SUB, GROUP, HAS_ROUTE, HAS_END, HAS_FINAL, HAS_INITIAL, SAVE, PACKED,
            PRECISION, STAGES,
        )  # fmt: skip


@triton.jit
def _scan_segment_back(
    work, k, do, route, table, c_in, w_in, q_in, ends, final, dstates, starts,
    T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    k_b, k_t, k_h, do_b, do_t, do_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, HAS_END: tl.constexpr, HAS_FINAL: tl.constexpr,
    HAS_INITIAL: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Scan one segment of one head, BV columns."""
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    column = (work % V_BLOCKS) * BV
    segment = (work // V_BLOCKS) % SEGMENTS
    bh = (work // (V_BLOCKS * SEGMENTS)).to(tl.int64)
    b, h = bh // H, bh % H
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
    for step in tl.range(0, last - first, num_stages=STAGES):
        n = last - 1 - step
        tile = bh * NT + n
        r = 1.0
        if HAS_ROUTE:
            r = tl.load(route + (b * N + chunk + (n - origin) // SUB) * R + h // (H // R))
        wanted = (r != 0.0) | (SUB > 1)
        start = token + (n - origin) * BT
        k_tile = load_rows(k, start, tl.where(wanted, end, 0), k_t, 0, K, BT, BK)
        w_tile = load_rows(w_in + tile * BT * BK, 0, tl.where(wanted, BT, 0), BK, 0, BK, BT, BK)
        q_tile = load_tile(q_in + tile * BT * BK, BT, BK)
        do_tile = load_rows(do, start, end, do_t, column, V, BT, BV)
        to_end, kept = decays_to_end(c_in, tile, BT)
        dtype = k_tile.dtype
        if SAVE:
            store_rows(dstates + tile * K * V, dstate.to(dtype), 0, K, V, column, V, BK, BV)
        if SUB == 1:
            to_end = to_end * r
        else:
            last_of_chunk = ((n - origin) % SUB == SUB - 1) | (n == last_tile)
            dbase = tl.where(last_of_chunk, (1.0 - r) * dstate, dbase)
            dstate = tl.where(last_of_chunk, r * dstate, dstate)
            dbase = dbase * kept
        y = dot(k_tile, dstate.to(dtype), None, PRECISION) * to_end[:, None]
        dstate = dot(tl.trans(q_tile), do_tile, dstate * kept, PRECISION)
        dstate = dot(tl.trans(w_tile), y.to(dtype), dstate, PRECISION)
        if SUB > 1:
            dstate = tl.where((n - origin) % SUB == 0, dstate + dbase, dstate)
    if PACKED and SAVE:
        if HAS_INITIAL and tl.load(table + segment * 8 + 6) != 0:
            store_rows(starts + of_document, dstate, 0, K, V, column, V, BK, BV)
    else:
        store_rows(starts + part, dstate, 0, K, V, column, V, BK, BV)
