"""Forward pass of the gated delta rule: kernels that are parallel over tiles, then a scan of the state over tiles.

In a tile that starts from state S, with c the running sum of g, D_ij = exp(c_i - c_j) for j <= i, and A the inverse of
I + tril(beta_i D_ij k_i . k_j, -1) (the WY form; Yang et al. 2024, arXiv 2406.06484, with decay 2412.06464)::

        w = -A diag(beta e^c) k         written to the state:  X = A diag(beta) v + w S
        P = scale D * (q k^T)           output:                o = scale e^c q S + P X  =  q' S + P' v
    q' = scale e^c q + P w          P' = P A diag(beta)
    S' = e^{c_last} S + (e^{c_last - c} k)^T X

A, w, q' and P' do not depend on S and V, so `triton_invert.invert` and `prepare` compute them for all tiles at once.
`scan` then computes products with the state, tile after tile. Where too few heads fill the GPU, the sequence is split
into segments. `summarise` computes each segment's effect on a state, a linear map; `chain` computes the states between
segments; then every segment is scanned independently.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import (
    decays,
    decays_to_end,
    is_last_segment,
    load_rows,
    load_sums,
    load_tile,
    place_segment,
    place_tile,
    store_rows,
    store_tile,
)
from nas.kernels.triton_dot import dot


@triton.jit
def prepare(
    q, k, tiles, c_in, a_beta_in, to_keys_in, w_out, q_out, p_out,
    scale, T, H, NT,
    q_b, q_t, q_h, k_b, k_t, k_h,
    K: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BT: tl.constexpr, GROUP: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute w and q' [BT, BK], P' [BT, BT] for one tile of one head."""
    tile = tl.program_id(0).to(tl.int64)
    bh = tile // NT
    start, end = place_tile(tiles, tile % NT, T, BT, PACKED)
    b, h = bh // H, bh % H
    q += b * q_b + h // GROUP * q_h
    k += b * k_b + h // GROUP * k_h
    dtype = k.dtype.element_ty
    whole, rest = load_sums(c_in, tile, BT)
    a_beta = load_tile(a_beta_in + tile * BT * BT, BT, BT)
    to_keys = load_tile(to_keys_in + tile * BT * BT, BT, BT)
    qk = tl.zeros((BT, BT), tl.float32)
    for key in range(0, BK, BKB):
        k_tile = load_rows(k, start, end, k_t, key, K, BT, BKB)
        q_tile = load_rows(q, start, end, q_t, key, K, BT, BKB)
        qk = dot(q_tile, tl.trans(k_tile), qk, PRECISION)
    p = (qk * decays(whole, rest, BT) * scale).to(dtype)
    store_tile(p_out + tile * BT * BT, dot(p, a_beta, None, PRECISION).to(dtype), BT, BT)
    from_start = tl.exp(whole + rest)
    for key in range(0, BK, BKB):
        k_tile = load_rows(k, start, end, k_t, key, K, BT, BKB)
        q_tile = load_rows(q, start, end, q_t, key, K, BT, BKB)
        w = (-dot(to_keys, k_tile, None, PRECISION)).to(dtype)
        q_new = dot(p, w, q_tile * (scale * from_start)[:, None], PRECISION)
        store_rows(w_out + tile * BT * BK, w, 0, BT, BK, key, BK, BT, BKB)
        store_rows(q_out + tile * BT * BK, q_new.to(dtype), 0, BT, BK, key, BK, BT, BKB)


@triton.jit
def _next_state(
    state, base, k_tile, written, to_end, kept, r, first_of_chunk, last_of_chunk,
    SUB: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the state after a tile, with its chunk's route applied at the chunk's end; SUB > 1 keeps ``base`` too."""
    if SUB == 1:
        to_end = to_end * r
    else:
        base = tl.where(first_of_chunk, state, base) * kept
    state = dot(tl.trans(k_tile), (written * to_end[:, None]).to(k_tile.dtype), state * kept, PRECISION)
    if SUB > 1:
        state = tl.where(last_of_chunk, base + r * (state - base), state)
    return state, base


@triton.jit
def summarise(
    k, v, route, table, c_in, a_in, w_in, ends, transitions,
    T, H, NT, N, R, SEGMENTS, SEGMENT_TILES,
    k_b, k_t, k_h, v_b, v_t, v_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
    SAVE: tl.constexpr,
):  # fmt: skip
    """Compute one segment's effect on a state: S -> transition S + end. One program per block of columns of either.

    The last segment has no successor: only its transition is needed, by the backward pass, and only with SAVE.
    """
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    K_BLOCKS: tl.constexpr = (BK + BV - 1) // BV
    block = tl.program_id(0) % (V_BLOCKS + K_BLOCKS)
    segment = (tl.program_id(0) // (V_BLOCKS + K_BLOCKS)) % SEGMENTS
    bh = (tl.program_id(0) // ((V_BLOCKS + K_BLOCKS) * SEGMENTS)).to(tl.int64)
    b, h = bh // H, bh % H
    k += b * k_b + h // GROUP * k_h
    v += b * v_b + h * v_h
    is_end = block < V_BLOCKS
    if is_last_segment(table, segment, SEGMENTS, PACKED) & (is_end | (not SAVE)):
        return
    value_dim = tl.where(is_end, V, 0)  # v adds nothing to columns of the transition
    column = tl.where(is_end, block, block - V_BLOCKS) * BV
    rows, columns = tl.arange(0, BK), column + tl.arange(0, BV)
    identity = (rows[:, None] == columns[None, :]) & (block >= V_BLOCKS)
    state = tl.where(identity, 1.0, 0.0)
    base = state
    first, last, origin, token, chunk, end, last_tile = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    for n in tl.range(first, last, num_stages=STAGES):
        tile = bh * NT + n
        r = 1.0
        if HAS_ROUTE:
            r = tl.load(route + (b * N + chunk + (n - origin) // SUB) * R + h // (H // R))
        wanted = (r != 0.0) | (SUB > 1)
        length = tl.where(wanted, end, 0)
        start = token + (n - origin) * BT
        k_tile = load_rows(k, start, length, k_t, 0, K, BT, BK)
        v_rows = start + tl.arange(0, BT)
        v_inside = (v_rows[:, None] < length) & (columns[None, :] < value_dim)
        v_tile = tl.load(v + v_rows[:, None].to(tl.int64) * v_t + columns[None, :], mask=v_inside, other=0.0)
        w_tile = load_rows(w_in + tile * BT * BK, 0, tl.where(wanted, BT, 0), BK, 0, BK, BT, BK)
        a_tile = load_rows(a_in + tile * BT * BT, 0, tl.where(wanted & is_end, BT, 0), BT, 0, BT, BT, BT)
        to_end, kept = decays_to_end(c_in, tile, BT)
        written = dot(w_tile, state.to(k_tile.dtype), dot(a_tile, v_tile, None, PRECISION), PRECISION)
        index = (n - origin) % SUB
        last_of_chunk = (index == SUB - 1) | (n == last_tile)
        state, base = _next_state(
            state, base, k_tile, written, to_end, kept, r, index == 0, last_of_chunk, SUB, PRECISION
        )
    part = bh * SEGMENTS + segment
    if is_end:
        store_rows(ends + part * K * V, state, 0, K, V, column, V, BK, BV)
    else:
        store_rows(transitions + part * K * K, state.to(transitions.dtype.element_ty), 0, K, K, column, K, BK, BV)


@triton.jit
def scan(
    k, v, route, table, c_in, a_in, w_in, q_in, p_in, starts, initial, o, states, final,
    HEADS, T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    k_b, k_t, k_h, v_b, v_t, v_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, HAS_START: tl.constexpr, HAS_INITIAL: tl.constexpr,
    HAS_FINAL: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr, LOOP: tl.constexpr,
):  # fmt: skip
    """Scan the state through every segment of every head, BV of its columns at a time.

    Writes o and, with SAVE, the state before each tile. Of packed documents the segments below SPLIT start from
    ``starts``, the others from ``initial``, each where there is one; with HAS_FINAL final states are written.
    """
    if LOOP:
        works = (V + BV - 1) // BV * SEGMENTS * HEADS
        for work in tl.range(tl.program_id(0), works, tl.num_programs(0), num_stages=1):
            _scan_segment(
                work, k, v, route, table, c_in, a_in, w_in, q_in, p_in, starts, initial, o, states, final,
                T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT, k_b, k_t, k_h, v_b, v_t, v_h,
                K, V, BK, BV, BT, SUB, GROUP, HAS_ROUTE, HAS_START, HAS_INITIAL, HAS_FINAL, SAVE, PACKED,
                PRECISION, STAGES,
            )  # fmt: skip
    else:
        _scan_segment(
            tl.program_id(0), k, v, route, table, c_in, a_in, w_in, q_in, p_in, starts, initial, o, states, final,
            T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT, k_b, k_t, k_h, v_b, v_t, v_h,
            K, V, BK, BV, BT, SUB, GROUP, HAS_ROUTE, HAS_START, HAS_INITIAL, HAS_FINAL, SAVE, PACKED,
            PRECISION, STAGES,
        )  # fmt: skip


@triton.jit
def _scan_segment(
    work, k, v, route, table, c_in, a_in, w_in, q_in, p_in, starts, initial, o, states, final,
    T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    k_b, k_t, k_h, v_b, v_t, v_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, HAS_START: tl.constexpr, HAS_INITIAL: tl.constexpr,
    HAS_FINAL: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Scan one segment of one head, BV columns."""
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    column = (work % V_BLOCKS) * BV
    segment = (work // V_BLOCKS) % SEGMENTS
    bh = (work // (V_BLOCKS * SEGMENTS)).to(tl.int64)
    b, h = bh // H, bh % H
    k += b * k_b + h // GROUP * k_h
    v += b * v_b + h * v_h
    o += (b * T * H + h) * V
    state = tl.zeros((BK, BV), tl.float32)
    if PACKED:
        of_document = (tl.load(table + segment * 8 + 5) * H + h) * K * V
        if HAS_START:
            rows = tl.where(segment < SPLIT, K, 0)
            state += load_rows(starts + (bh * SPLIT + segment) * K * V, 0, rows, V, column, V, BK, BV)
        if HAS_INITIAL:
            state += load_rows(initial + of_document, 0, tl.where(segment < SPLIT, 0, K), V, column, V, BK, BV)
    else:
        of_document = bh * K * V
        if HAS_START:
            state += load_rows(starts + (bh * SEGMENTS + segment) * K * V, 0, K, V, column, V, BK, BV)
    base = state
    first, last, origin, token, chunk, end, last_tile = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    for n in tl.range(first, last, num_stages=STAGES):
        tile = bh * NT + n
        r = 1.0
        if HAS_ROUTE:
            r = tl.load(route + (b * N + chunk + (n - origin) // SUB) * R + h // (H // R))
        wanted = (r != 0.0) | (SUB > 1)
        start = token + (n - origin) * BT
        k_tile = load_rows(k, start, tl.where(wanted, end, 0), k_t, 0, K, BT, BK)
        v_tile = load_rows(v, start, end, v_t, column, V, BT, BV)
        w_tile = load_rows(w_in + tile * BT * BK, 0, tl.where(wanted, BT, 0), BK, 0, BK, BT, BK)
        a_tile = load_rows(a_in + tile * BT * BT, 0, tl.where(wanted, BT, 0), BT, 0, BT, BT, BT)
        q_tile = load_tile(q_in + tile * BT * BK, BT, BK)
        p_tile = load_tile(p_in + tile * BT * BT, BT, BT)
        to_end, kept = decays_to_end(c_in, tile, BT)
        low = state.to(k_tile.dtype)
        if SAVE:
            store_rows(states + tile * K * V, low, 0, K, V, column, V, BK, BV)
        out = dot(q_tile, low, dot(p_tile, v_tile, None, PRECISION), PRECISION)
        store_rows(o, out.to(o.dtype.element_ty), start, end, H * V, column, V, BT, BV)
        written = dot(w_tile, low, dot(a_tile, v_tile, None, PRECISION), PRECISION)
        index = (n - origin) % SUB
        last_of_chunk = (index == SUB - 1) | (n == last_tile)
        state, base = _next_state(
            state, base, k_tile, written, to_end, kept, r, index == 0, last_of_chunk, SUB, PRECISION
        )
    if HAS_FINAL and is_last_segment(table, segment, SEGMENTS, PACKED):
        store_rows(final + of_document, state, 0, K, V, column, V, BK, BV)


@triton.jit
def chain(
    transitions, added, first, states, table, H, SEGMENTS,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr,
    HAS_FIRST: tl.constexpr, BACKWARD: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the states between segments: x_0 = first or 0, x_{s+1} = transition_s x_s + added_s; BV columns.

    BACKWARD goes from the last segment to the first with the transposed transitions. A state is multiplied in two
    parts, its value in the operands' dtype and that value's rounding error, so that only the transition is rounded.
    """
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    column = (tl.program_id(0) % V_BLOCKS) * BV
    bh = (tl.program_id(0) // V_BLOCKS).to(tl.int64)
    dtype = transitions.dtype.element_ty
    segment = bh * SEGMENTS
    count = SEGMENTS
    if PACKED:
        h, entry = bh % H, table + bh // H * 4
        bh = tl.load(entry).to(tl.int64) * H + h
        segment = h * SEGMENTS + tl.load(entry + 1)
        count = tl.load(entry + 2)
    to_next = 1
    if BACKWARD:
        segment += count - 1
        to_next = -1
    for row in range(0, BK, BKB):
        state = tl.zeros((BKB, BV), tl.float32)
        if HAS_FIRST:
            state += load_rows(first + bh * K * V, row, K, V, column, V, BKB, BV)
        store_rows(states + segment * K * V, state, row, K, V, column, V, BKB, BV)
    for _ in range(count - 1):
        tl.debug_barrier()  # other threads load the last stored state
        for row in range(0, BK, BKB):
            state = load_rows(added + segment * K * V, row, K, V, column, V, BKB, BV)
            for key in range(0, BK, BKB):
                if BACKWARD:
                    i, j = row + tl.arange(0, BKB)[:, None], key + tl.arange(0, BKB)[None, :]
                    transition = tl.load(transitions + segment * K * K + j * K + i, mask=(i < K) & (j < K), other=0.0)
                else:
                    transition = load_rows(transitions + segment * K * K, row, K, K, key, K, BKB, BKB)
                before = load_rows(states + segment * K * V, key, K, V, column, V, BKB, BV)
                low = before.to(dtype)
                rest = (before - low.to(tl.float32)).to(dtype)
                state = dot(transition, low, state, PRECISION)
                state = dot(transition, rest, state, PRECISION)
            store_rows(states + (segment + to_next) * K * V, state, row, K, V, column, V, BKB, BV)
        segment += to_next
