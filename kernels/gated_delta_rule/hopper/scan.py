"""The forward scan for Hopper: what `triton_forward.scan` computes, by four groups of warps (see `products`).

One group loads tiles, one keeps the state, one computes X, and one o, with the notation of `triton_forward`.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma

from nas.kernels.gated_delta_rule.hopper.products import (
    GATES,
    KEYS,
    TOKENS,
    add_product,
    as_left,
    barrier,
    barriers,
    buffer,
    buffers,
    copy_out,
    decay_over_tile,
    decays,
    gates_buffers,
    gates_by_row,
    gates_of,
    layout_of,
    matrix,
    product,
)
from nas.kernels.gated_delta_rule.hopper.scan_tiles import load_tiles, place_segment


@gluon.jit
def _scan_states(
    gates_tiles, k_tiles, state_tile, added_tile, states_rows, starts, initial, final, ready, free, state_ready,
    state_free, added_ready, added_free, first, last, column, is_split, is_last,
    V: gl.constexpr, BV: gl.constexpr, HAS_START: gl.constexpr, HAS_INITIAL: gl.constexpr, HAS_FINAL: gl.constexpr,
    SAVE: gl.constexpr,
):  # fmt: skip
    """Compute the state before each tile; it is saved with SAVE."""
    layout: gl.constexpr = layout_of(BV)
    row = gl.arange(0, KEYS, layout=gl.SliceLayout(1, layout))[:, None]
    offsets = row * V + gl.arange(0, BV, layout=gl.SliceLayout(0, layout))[None, :] + column
    state = gl.zeros([KEYS, BV], gl.float32, layout)
    if HAS_START and is_split:
        state += gl.load(starts + offsets)
    if HAS_INITIAL and not is_split:
        state += gl.load(initial + offsets)
    for n in range(first, last):
        step = n - first
        stage = step % 2
        mbarrier.wait(state_free, (step & 1) ^ 1)
        if SAVE:
            tma.store_wait(0)
        state_tile.store(state.to(state_tile.dtype))
        fence_async_shared()
        mbarrier.arrive(state_ready)
        if SAVE:
            copy_out(states_rows, [n * KEYS, column], state_tile)
        mbarrier.wait(ready.index(stage), (step // 2) & 1)
        state = state * decay_over_tile(gates_tiles.index(stage), BV)
        mbarrier.wait(added_ready, step & 1)
        state = add_product(k_tiles.index(stage).permute((1, 0)), added_tile, state)
        mbarrier.arrive(added_free)
        mbarrier.arrive(free.index(stage))
    if SAVE:
        tma.store_wait(0)
    if HAS_FINAL and is_last:
        gl.store(final + offsets, state)


@gluon.jit
def _write_values(
    gates_tiles, route, k_tiles, v_tiles, a_tiles, state_tile, missing_tile, x_tile, added_tile, x_rows, ready, free,
    state_ready, state_free, x_ready, x_free, added_ready, added_free, first, last, column, R,
    BV: gl.constexpr, HAS_ROUTE: gl.constexpr, HAS_OUTPUT: gl.constexpr, SAVE: gl.constexpr,
):  # fmt: skip
    """Compute X = A beta (v - e^c k S) of each tile: as it is, and with its decay to the tile's end."""
    layout: gl.constexpr = layout_of(BV)
    dtype: gl.constexpr = x_tile.dtype
    for n in range(first, last):
        step = n - first
        stage = step % 2
        written = gl.load(route + n * R) if HAS_ROUTE else 1.0
        mbarrier.wait(ready.index(stage), (step // 2) & 1)
        from_start, to_end, strength = gates_by_row(gates_tiles.index(stage), BV)
        v = v_tiles.index(stage).load(layout).to(gl.float32)
        mbarrier.wait(state_ready, step & 1)
        known = product(k_tiles.index(stage), state_tile, BV)
        mbarrier.arrive(state_free)
        missing_tile.store(((v - known * from_start[:, None]) * strength[:, None]).to(dtype))
        fence_async_shared()
        x = product(a_tiles.index(stage), missing_tile, BV)
        mbarrier.wait(added_free, (step & 1) ^ 1)
        added_tile.store((x * (to_end * written)[:, None]).to(dtype))
        fence_async_shared()
        mbarrier.arrive(added_ready)
        mbarrier.arrive(free.index(stage))
        if HAS_OUTPUT:
            mbarrier.wait(x_free, (step & 1) ^ 1)
        if SAVE:
            tma.store_wait(0)
        if HAS_OUTPUT or SAVE:
            x_tile.store(x.to(dtype))
            fence_async_shared()
        if HAS_OUTPUT:
            mbarrier.arrive(x_ready)
        if SAVE:
            copy_out(x_rows, [n * TOKENS, column], x_tile)
    if SAVE:
        tma.store_wait(0)


@gluon.jit
def _read_values(
    gates_tiles, q_tiles, k_tiles, state_tile, x_tile, o_tile, o_rows, ready, free, state_ready, state_free, x_ready,
    x_free, first, last, shift, column, scale, BV: gl.constexpr, HAS_OUTPUT: gl.constexpr,
):  # fmt: skip
    """Compute o = scale (e^c q S + D (q k^T) X) of each tile."""
    dtype: gl.constexpr = x_tile.dtype
    if HAS_OUTPUT:
        for n in range(first, last):
            step = n - first
            stage = step % 2
            mbarrier.wait(ready.index(stage), (step // 2) & 1)
            decay = decays(gates_tiles.index(stage), False)
            from_start, _, _ = gates_by_row(gates_tiles.index(stage), BV)
            q = q_tiles.index(stage)
            scores = as_left((product(q, k_tiles.index(stage).permute((1, 0)), TOKENS) * decay).to(dtype), BV)
            mbarrier.wait(state_ready, step & 1)
            o = product(q, state_tile, BV) * from_start[:, None]
            mbarrier.arrive(state_free)
            mbarrier.arrive(free.index(stage))
            mbarrier.wait(x_ready, step & 1)
            o = add_product(scores, x_tile, o)
            mbarrier.arrive(x_free)
            tma.store_wait(0)
            o_tile.store((o * scale).to(dtype))
            fence_async_shared()
            copy_out(o_rows, [n * TOKENS + shift, column], o_tile)
        tma.store_wait(0)


@gluon.jit(do_not_specialize=["T", "NT", "SEGMENTS", "SEGMENT_TILES", "SPLIT"])
def scan(
    q, k, v, route, table, gates, a, starts, initial, o, x_out, states, final,
    scale, T, H, NT, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h,
    V: gl.constexpr, BV: gl.constexpr, GROUP: gl.constexpr, HAS_ROUTE: gl.constexpr, HAS_START: gl.constexpr,
    HAS_INITIAL: gl.constexpr, HAS_OUTPUT: gl.constexpr, HAS_FINAL: gl.constexpr, SAVE: gl.constexpr,
    PACKED: gl.constexpr,
):  # fmt: skip
    """Scan the state through one segment of one head, BV of its columns; arguments as of `triton_forward.scan`."""
    column = (gl.program_id(0) % (V // BV)) * BV
    segment = (gl.program_id(0) // (V // BV)) % SEGMENTS
    bh = (gl.program_id(0) // (V // BV * SEGMENTS)).to(gl.int64)
    b, h = bh // H, bh % H
    first, last, end, shift = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    is_split, is_last, part, of_document = True, segment == SEGMENTS - 1, bh * SEGMENTS + segment, bh
    if PACKED:
        is_split, is_last = segment < SPLIT, gl.load(table + segment * 8 + 7) != 0
        part, of_document = bh * SPLIT + segment, gl.load(table + segment * 8 + 5).to(gl.int64) * H + h
    dtype: gl.constexpr = k.dtype.element_ty

    k_rows = matrix(k + b * k_b + h // GROUP * k_h, end, KEYS, k_t, TOKENS, KEYS)
    v_rows = matrix(v + b * v_b + h * v_h, end, V, v_t, TOKENS, BV)
    a_rows = matrix(a + bh * NT * TOKENS * TOKENS, NT * TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
    gates_rows = gates_of(gates + bh * NT * GATES, NT)
    q_rows, o_rows, x_rows, states_rows = k_rows, v_rows, v_rows, v_rows
    if HAS_OUTPUT:
        q_rows = matrix(q + b * q_b + h // GROUP * q_h, end, KEYS, q_t, TOKENS, KEYS)
        o_rows = matrix(o + (b * T * H + h) * V, end, V, H * V, TOKENS, BV)
    if SAVE:
        x_rows = matrix(x_out + bh * NT * TOKENS * V, NT * TOKENS, V, V, TOKENS, BV)
        states_rows = matrix(states + bh * NT * KEYS * V, NT * KEYS, V, V, KEYS, BV)
    q_tiles, k_tiles = buffers(dtype, 2, TOKENS, KEYS), buffers(dtype, 2, TOKENS, KEYS)
    v_tiles, a_tiles = buffers(dtype, 2, TOKENS, BV), buffers(dtype, 2, TOKENS, TOKENS)
    gates_tiles = gates_buffers(2)
    state_tile, missing_tile = buffer(dtype, KEYS, BV), buffer(dtype, TOKENS, BV)
    x_tile, added_tile, o_tile = buffer(dtype, TOKENS, BV), buffer(dtype, TOKENS, BV), buffer(dtype, TOKENS, BV)
    ready, free = barriers(2, 1), barriers(2, 3 if HAS_OUTPUT else 2)
    state_ready, state_free = barrier(1), barrier(2 if HAS_OUTPUT else 1)
    x_ready, x_free = barrier(1), barrier(1)
    added_ready, added_free = barrier(1), barrier(1)
    if HAS_ROUTE:
        route += b * NT * R + h // (H // R)
    if HAS_START:
        starts += part * KEYS * V
    if HAS_INITIAL:
        initial += of_document * KEYS * V
    if HAS_FINAL:
        final += of_document * KEYS * V
    gl.warp_specialize(
        [
            (
                _scan_states,
                (
                    gates_tiles, k_tiles, state_tile, added_tile, states_rows, starts, initial, final, ready, free,
                    state_ready, state_free, added_ready, added_free, first, last, column, is_split, is_last,
                    V, BV, HAS_START, HAS_INITIAL, HAS_FINAL, SAVE,
                ),
            ),
            (
                _write_values,
                (
                    gates_tiles, route, k_tiles, v_tiles, a_tiles, state_tile, missing_tile, x_tile, added_tile, x_rows,
                    ready, free, state_ready, state_free, x_ready, x_free, added_ready, added_free, first, last,
                    column, R, BV, HAS_ROUTE, HAS_OUTPUT, SAVE,
                ),
            ),
            (
                _read_values,
                (
                    gates_tiles, q_tiles, k_tiles, state_tile, x_tile, o_tile, o_rows, ready, free, state_ready,
                    state_free, x_ready, x_free, first, last, shift, column, scale, BV, HAS_OUTPUT,
                ),
            ),
            (
                load_tiles,
                (
                    q_rows, k_rows, v_rows, a_rows, gates_rows, q_tiles, k_tiles, v_tiles, a_tiles, gates_tiles, ready,
                    free, first, last, shift, column, HAS_OUTPUT, False,
                ),
            ),
        ],
        [4, 4, 1],
        [168, 160, 24],
    )  # fmt: skip
