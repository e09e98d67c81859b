"""The backward scan for Hopper: what `triton_scan_back.scan_back` computes, by four groups of warps (see `products`).

One group loads tiles, one keeps the gradient of the state, one computes dR, and one the scores and the scaled do.
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
    barrier,
    barriers,
    buffer,
    buffers,
    copy_out,
    decay_over_tile,
    decays_transposed,
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
    gates_tiles, q_tiles, k_tiles, state_tile, read_tile, erased_tile, states_rows, ends, final, starts, ready, free,
    state_ready, state_free, scores_ready, scores_free, erased_ready, erased_free, first, last, column, is_split,
    is_first, V: gl.constexpr, BV: gl.constexpr, HAS_END: gl.constexpr, HAS_FINAL: gl.constexpr,
    HAS_INITIAL: gl.constexpr, SAVE: gl.constexpr,
):  # fmt: skip
    """Compute the gradient of the state after each tile; it is saved with SAVE."""
    layout: gl.constexpr = layout_of(BV)
    row = gl.arange(0, KEYS, layout=gl.SliceLayout(1, layout))[:, None]
    offsets = row * V + gl.arange(0, BV, layout=gl.SliceLayout(0, layout))[None, :] + column
    state = gl.zeros([KEYS, BV], gl.float32, layout)
    if HAS_END and is_split:
        state += gl.load(ends + offsets)
    if HAS_FINAL and not is_split:
        state += gl.load(final + offsets)
    for step in range(last - first):
        n = last - 1 - step
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
        kept = decay_over_tile(gates_tiles.index(stage), BV)
        mbarrier.wait(scores_ready, step & 1)
        state = add_product(q_tiles.index(stage).permute((1, 0)), read_tile, state * kept)
        mbarrier.arrive(scores_free)
        mbarrier.wait(erased_ready, step & 1)
        state = add_product(k_tiles.index(stage).permute((1, 0)), erased_tile, state)
        mbarrier.arrive(erased_free)
        mbarrier.arrive(free.index(stage))
    if SAVE:
        tma.store_wait(0)
    if HAS_INITIAL and is_first:
        gl.store(starts + offsets, state)


@gluon.jit
def _differentiate_values(
    gates_tiles, route, k_tiles, do_tiles, a_tiles, state_tile, scores_tile, dx_tile, erased_tile, dr_tile, dr_rows,
    ready, free, state_ready, state_free, scores_ready, scores_free, erased_ready, erased_free, first, last, column, R,
    BV: gl.constexpr, HAS_ROUTE: gl.constexpr, SAVE: gl.constexpr,
):  # fmt: skip
    """Compute dR of each tile, and -beta e^c dR; dR is saved with SAVE."""
    dtype: gl.constexpr = dx_tile.dtype
    for step in range(last - first):
        n = last - 1 - step
        stage = step % 2
        written = gl.load(route + n * R) if HAS_ROUTE else 1.0
        mbarrier.wait(ready.index(stage), (step // 2) & 1)
        from_start, to_end, strength = gates_by_row(gates_tiles.index(stage), BV)
        mbarrier.wait(state_ready, step & 1)
        dx = product(k_tiles.index(stage), state_tile, BV) * (to_end * written)[:, None]
        mbarrier.arrive(state_free)
        mbarrier.wait(scores_ready, step & 1)
        dx = add_product(scores_tile, do_tiles.index(stage), dx)
        mbarrier.arrive(scores_free)
        dx_tile.store(dx.to(dtype))
        fence_async_shared()
        dr = product(a_tiles.index(stage).permute((1, 0)), dx_tile, BV)
        mbarrier.wait(erased_free, (step & 1) ^ 1)
        erased_tile.store((dr * (-strength * from_start)[:, None]).to(dtype))
        fence_async_shared()
        mbarrier.arrive(erased_ready)
        mbarrier.arrive(free.index(stage))
        if SAVE:
            tma.store_wait(0)
            dr_tile.store(dr.to(dtype))
            fence_async_shared()
            copy_out(dr_rows, [n * TOKENS, column], dr_tile)
    if SAVE:
        tma.store_wait(0)


@gluon.jit
def _score(
    gates_tiles, q_tiles, k_tiles, do_tiles, scores_tile, read_tile, ready, free, scores_ready, scores_free, first,
    last, scale, BV: gl.constexpr,
):  # fmt: skip
    """Compute scale P^T and scale e^c do of each tile."""
    dtype: gl.constexpr = read_tile.dtype
    for step in range(last - first):
        stage = step % 2
        mbarrier.wait(ready.index(stage), (step // 2) & 1)
        decay = decays_transposed(gates_tiles.index(stage)) * scale
        from_start, _, _ = gates_by_row(gates_tiles.index(stage), BV)
        scores = product(k_tiles.index(stage), q_tiles.index(stage).permute((1, 0)), TOKENS) * decay
        read = do_tiles.index(stage).load(layout_of(BV)).to(gl.float32) * (scale * from_start)[:, None]
        mbarrier.wait(scores_free, (step & 1) ^ 1)
        scores_tile.store(scores.to(dtype))
        read_tile.store(read.to(dtype))
        fence_async_shared()
        mbarrier.arrive(scores_ready)
        mbarrier.arrive(free.index(stage))


@gluon.jit(do_not_specialize=["T", "NT", "SEGMENTS", "SEGMENT_TILES", "SPLIT"])
def scan_back(
    q, k, do, route, table, reach, gates, a, ends, final, dstates, dr_out, starts,
    scale, T, H, NT, R, SEGMENTS, SEGMENT_TILES, SPLIT,
    q_b, q_t, q_h, k_b, k_t, k_h, do_b, do_t, do_h,
    V: gl.constexpr, BV: gl.constexpr, GROUP: gl.constexpr, HAS_ROUTE: gl.constexpr, HAS_END: gl.constexpr,
    HAS_FINAL: gl.constexpr, HAS_INITIAL: gl.constexpr, SAVE: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """Scan the state's gradient backwards through one segment of one head, BV of its columns.

    The arguments are those of `triton_scan_back.scan_back`.
    """
    column = (gl.program_id(0) % (V // BV)) * BV
    segment = (gl.program_id(0) // (V // BV)) % SEGMENTS
    bh = (gl.program_id(0) // (V // BV * SEGMENTS)).to(gl.int64)
    b, h = bh // H, bh % H
    first, last, end, shift = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    is_split, is_first, part = True, True, bh * SEGMENTS + segment
    if PACKED:
        is_split, part = segment < SPLIT, bh * SPLIT + segment
    if not SAVE:
        last = gl.load(reach + part * 2)
    dtype: gl.constexpr = k.dtype.element_ty

    q_rows = matrix(q + b * q_b + h // GROUP * q_h, end, KEYS, q_t, TOKENS, KEYS)
    k_rows = matrix(k + b * k_b + h // GROUP * k_h, end, KEYS, k_t, TOKENS, KEYS)
    do_rows = matrix(do + b * do_b + h * do_h, end, V, do_t, TOKENS, BV)
    a_rows = matrix(a + bh * NT * TOKENS * TOKENS, NT * TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
    gates_rows = gates_of(gates + bh * NT * GATES, NT)
    dr_rows, states_rows = do_rows, do_rows
    if SAVE:
        dr_rows = matrix(dr_out + bh * NT * TOKENS * V, NT * TOKENS, V, V, TOKENS, BV)
        states_rows = matrix(dstates + bh * NT * KEYS * V, NT * KEYS, V, V, KEYS, BV)
    q_tiles, k_tiles = buffers(dtype, 2, TOKENS, KEYS), buffers(dtype, 2, TOKENS, KEYS)
    do_tiles, a_tiles = buffers(dtype, 2, TOKENS, BV), buffers(dtype, 2, TOKENS, TOKENS)
    gates_tiles = gates_buffers(2)
    state_tile, scores_tile = buffer(dtype, KEYS, BV), buffer(dtype, TOKENS, TOKENS)
    read_tile, dx_tile = buffer(dtype, TOKENS, BV), buffer(dtype, TOKENS, BV)
    erased_tile, dr_tile = buffer(dtype, TOKENS, BV), buffer(dtype, TOKENS, BV)
    ready, free = barriers(2, 1), barriers(2, 3)
    state_ready, state_free = barrier(1), barrier(1)
    scores_ready, scores_free = barrier(1), barrier(2)
    erased_ready, erased_free = barrier(1), barrier(1)
    if HAS_ROUTE:
        route += b * NT * R + h // (H // R)
    if HAS_END:
        ends += part * KEYS * V
    if PACKED and SAVE:
        is_first = gl.load(table + segment * 8 + 6) != 0
        of_document = gl.load(table + segment * 8 + 5).to(gl.int64) * H + h
        if HAS_FINAL:
            final += of_document * KEYS * V
        if HAS_INITIAL:
            starts += of_document * KEYS * V
    else:
        starts += part * KEYS * V
    gl.warp_specialize(
        [
            (
                _scan_states,
                (
                    gates_tiles, q_tiles, k_tiles, state_tile, read_tile, erased_tile, states_rows, ends, final, starts,
                    ready, free, state_ready, state_free, scores_ready, scores_free, erased_ready, erased_free, first,
                    last, column, is_split, is_first, V, BV, HAS_END, HAS_FINAL, HAS_INITIAL, SAVE,
                ),
            ),
            (
                _differentiate_values,
                (
                    gates_tiles, route, k_tiles, do_tiles, a_tiles, state_tile, scores_tile, dx_tile, erased_tile,
                    dr_tile, dr_rows, ready, free, state_ready, state_free, scores_ready, scores_free, erased_ready,
                    erased_free, first, last, column, R, BV, HAS_ROUTE, SAVE,
                ),
            ),
            (
                _score,
                (
                    gates_tiles, q_tiles, k_tiles, do_tiles, scores_tile, read_tile, ready, free, scores_ready,
                    scores_free, first, last, scale, BV,
                ),
            ),
            (
                load_tiles,
                (
                    q_rows, k_rows, do_rows, a_rows, gates_rows, q_tiles, k_tiles, do_tiles, a_tiles, gates_tiles,
                    ready, free, first, last, shift, column, True, True,
                ),
            ),
        ],
        [4, 4, 1],
        [168, 144, 24],
    )  # fmt: skip
