"""Forward pass of the gated delta rule: a scan of the state over tiles, given each tile's triangular inverse.

In a tile that starts from state S, with c the running sum of g, D_ij = exp(c_i - c_j) for j <= i, and A the inverse of
I + tril(beta_i D_ij k_i . k_j, -1) (the WY form; Yang et al. 2024, arXiv 2406.06484, with decay 2412.06464)::

    R = beta (v - e^c k S)          written to the state:  X = A R
    P = scale D * (q k^T)           output:                o = scale e^c q S + P X
    S' = e^{c_last} S + (e^{c_last - c} k)^T X

Only A is computed beforehand, by `triton_invert.invert`: the scan reads q, k, v and A once and writes o. Where too few
heads fill the GPU, the sequence is split into segments. `summarise` computes each segment's effect on a state, a linear
map; `chain` computes the states between segments; then every segment is scanned independently.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_reach import nothing_passes, reach_of_segment
from nas.kernels.gated_delta_rule.triton_tiles import (
    decays,
    decays_to_end,
    gates_of_tiles,
    is_last_segment,
    load_block,
    load_gates_of_tile,
    load_rows,
    matrix,
    place_segment,
    store_rows,
)
from nas.kernels.triton_dot import dot


@triton.jit
def _written(k_tile, v_tile, a_tile, state, from_start, strength, PRECISION: tl.constexpr):
    """Compute X [BT, BV], the vectors that a tile writes to the state, from the state at its start."""
    missing = v_tile - from_start[:, None] * dot(k_tile, state, None, PRECISION)
    return dot(a_tile, (missing * strength[:, None]).to(k_tile.dtype), None, PRECISION)


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
    k, v, route, table, bounds, gates_in, a_in, ends, transitions, reach,
    T, H, NT, N, R, SEGMENTS, SEGMENT_TILES,
    k_b, k_t, k_h, v_b, v_t, v_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr, TMA: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute one segment's effect on a state: S -> transition S + end. One program per block of columns of either.

    The last segment has no successor: only its transition is needed, by the backward pass, and only with SAVE.
    Tiles that do not show in the end are left out. What other kernels need of it goes to ``reach`` [B * H, SEGMENTS, 2]
    (see `triton_reach`).
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
    column = tl.where(is_end, block, block - V_BLOCKS) * BV
    first, last, origin, token, chunk, end, last_tile = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    begin, stop, severed = reach_of_segment(bounds + bh * NT, first, last, origin, SUB)
    if block == V_BLOCKS:
        tl.store(reach + (bh * SEGMENTS + segment) * 2, stop)
        tl.store(reach + (bh * SEGMENTS + segment) * 2 + 1, severed.to(tl.int32))
    first = tl.where(severed & (not is_end), last, begin)
    rows, columns = tl.arange(0, BK), column + tl.arange(0, BV)
    identity = (rows[:, None] == columns[None, :]) & (block >= V_BLOCKS) & (not severed)
    state = tl.where(identity, 1.0, 0.0)
    base = state
    k_rows = matrix(k, end, k_t, K, BT, BK, TMA)
    v_rows = matrix(v, end, v_t, V, BT, BV, TMA)
    gates = gates_of_tiles(gates_in + bh * NT * 3 * BT, NT, BT, TMA)
    a_rows = matrix(a_in + bh * NT * BT * BT, NT * BT, BT, BT, BT, BT, TMA)
    # v adds nothing to columns of the transition: a descriptor loads zeros from columns outside, pointers without rows
    v_column, v_end = tl.where(is_end, column, V), tl.where(is_end, end, 0)
    for n in tl.range(first, last, num_stages=STAGES):
        tile = bh * NT + n
        r = 1.0
        if HAS_ROUTE:
            r = tl.load(route + (b * N + chunk + (n - origin) // SUB) * R + h // (H // R))
        start = token + (n - origin) * BT
        k_tile = load_block(k_rows, start, end, k_t, 0, K, BT, BK, TMA)
        v_tile = load_block(v_rows, start, v_end, v_t, v_column, V, BT, BV, TMA)
        a_tile = load_block(a_rows, n * BT, NT * BT, BT, 0, BT, BT, BT, TMA)
        whole, rest, strength = load_gates_of_tile(gates, n, BT, TMA)
        to_end, kept = decays_to_end(gates_in, tile, whole, rest, BT)
        written = _written(k_tile, v_tile, a_tile, state.to(k_tile.dtype), tl.exp(whole + rest), strength, PRECISION)
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
    q, k, v, route, table, gates_in, a_in, starts, initial, o, x_out, states, final,
    scale, T, H, NT, N, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr,
    GROUP: tl.constexpr, HAS_ROUTE: tl.constexpr, HAS_START: tl.constexpr, HAS_INITIAL: tl.constexpr,
    HAS_OUTPUT: tl.constexpr, HAS_FINAL: tl.constexpr, SAVE: tl.constexpr, PACKED: tl.constexpr, TMA: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Scan the state through one segment of one head, BV of its columns.

    Writes o with HAS_OUTPUT, final states with HAS_FINAL, and with SAVE the state before each tile and X. Of packed
    documents the segments below SPLIT start from ``starts``, the others from ``initial``, each where there is one.
    """
    V_BLOCKS: tl.constexpr = (V + BV - 1) // BV
    column = (tl.program_id(0) % V_BLOCKS) * BV
    segment = (tl.program_id(0) // V_BLOCKS) % SEGMENTS
    bh = (tl.program_id(0) // (V_BLOCKS * SEGMENTS)).to(tl.int64)
    b, h = bh // H, bh % H
    q += b * q_b + h // GROUP * q_h
    k += b * k_b + h // GROUP * k_h
    v += b * v_b + h * v_h
    if HAS_OUTPUT:
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
    if SAVE:
        rows = tl.where(first < last, K, 0)
        store_rows(states + (bh * NT + first) * K * V, state.to(k.dtype.element_ty), 0, rows, V, column, V, BK, BV)
    q_rows = matrix(q, end, q_t, K, BT, BK, TMA)
    k_rows = matrix(k, end, k_t, K, BT, BK, TMA)
    v_rows = matrix(v, end, v_t, V, BT, BV, TMA)
    gates = gates_of_tiles(gates_in + bh * NT * 3 * BT, NT, BT, TMA)
    a_rows = matrix(a_in + bh * NT * BT * BT, NT * BT, BT, BT, BT, BT, TMA)
    for n in tl.range(first, last, num_stages=STAGES):
        tile = bh * NT + n
        r = 1.0
        if HAS_ROUTE:
            r = tl.load(route + (b * N + chunk + (n - origin) // SUB) * R + h // (H // R))
        start = token + (n - origin) * BT
        k_tile = load_block(k_rows, start, end, k_t, 0, K, BT, BK, TMA)
        v_tile = load_block(v_rows, start, end, v_t, column, V, BT, BV, TMA)
        a_tile = load_block(a_rows, n * BT, NT * BT, BT, 0, BT, BT, BT, TMA)
        whole, rest, strength = load_gates_of_tile(gates, n, BT, TMA)
        to_end, kept = decays_to_end(gates_in, tile, whole, rest, BT)
        from_start = tl.exp(whole + rest)
        low = state.to(k_tile.dtype)
        written = _written(k_tile, v_tile, a_tile, low, from_start, strength, PRECISION)
        low_written = written.to(k_tile.dtype)
        if HAS_OUTPUT:
            q_tile = load_block(q_rows, start, end, q_t, 0, K, BT, BK, TMA)
            scores = dot(q_tile, tl.trans(k_tile), None, PRECISION) * decays(whole, rest, start, BT)
            out = dot(q_tile, low, None, PRECISION) * from_start[:, None]
            out = dot(scores.to(k_tile.dtype), low_written, out, PRECISION) * scale
            store_rows(o, out.to(o.dtype.element_ty), start, end, H * V, column, V, BT, BV)
        index = (n - origin) % SUB
        last_of_chunk = (index == SUB - 1) | (n == last_tile)
        state, base = _next_state(
            state, base, k_tile, written, to_end, kept, r, index == 0, last_of_chunk, SUB, PRECISION
        )
        if SAVE:
            store_rows(x_out + tile * BT * V, low_written, 0, BT, V, column, V, BT, BV)
            if n + 1 < last:
                store_rows(states + (tile + 1) * K * V, state.to(k_tile.dtype), 0, K, V, column, V, BK, BV)
    if HAS_FINAL and is_last_segment(table, segment, SEGMENTS, PACKED):
        store_rows(final + of_document, state, 0, K, V, column, V, BK, BV)


@triton.jit
def chain(
    transitions, reach, added, first, states, table, H, SEGMENTS,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BKB: tl.constexpr, BV: tl.constexpr,
    HAS_FIRST: tl.constexpr, BACKWARD: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the states between segments: x_0 = first or 0, x_{s+1} = transition_s x_s + added_s; BV columns.

    BACKWARD goes from the last segment to the first with the transposed transitions. A state is multiplied in two
    parts, its value in the operands' dtype and that value's rounding error, so that only the transition is rounded.
    It is not multiplied at all where nothing passes through a segment, see `triton_reach`.
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
            if not nothing_passes(reach, segment):
                for key in range(0, BK, BKB):
                    if BACKWARD:
                        i, j = row + tl.arange(0, BKB)[:, None], key + tl.arange(0, BKB)[None, :]
                        there = transitions + segment * K * K + j * K + i
                        transition = tl.load(there, mask=(i < K) & (j < K), other=0.0)
                    else:
                        transition = load_rows(transitions + segment * K * K, row, K, K, key, K, BKB, BKB)
                    before = load_rows(states + segment * K * V, key, K, V, column, V, BKB, BV)
                    low = before.to(dtype)
                    rest = (before - low.to(tl.float32)).to(dtype)
                    state = dot(transition, low, state, PRECISION)
                    state = dot(transition, rest, state, PRECISION)
            store_rows(states + (segment + to_next) * K * V, state, row, K, V, column, V, BKB, BV)
        segment += to_next
