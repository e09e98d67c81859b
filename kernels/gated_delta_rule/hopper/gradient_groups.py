"""The groups of warps of `gradients.differentiate`, with its notation.

The tensors of a tile are in shared memory once. Each has a barrier that says when it is full, and one that says when
all its readers are done with it. What a group computes for another one is handed over in shared memory as well.
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
    copy_in,
    copy_out,
    decays,
    gates_by_row,
    layout_of,
    strengths,
)

# The tensors of a tile, by the number of their barriers
X, DO, DR, S, DS, K, Q, V, OLD_DV = (gl.constexpr(i) for i in range(9))
TENSORS = gl.constexpr(9)
# What one group of warps hands to another: dM, beta dL and beta e, by the number of their barriers
DM, DL, E = (gl.constexpr(i) for i in range(3))

COLUMNS = gl.constexpr(128)
"""Columns of v that are in shared memory at a time."""
ROWS = gl.constexpr(gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0]))
"""Layout of some rows of 128 columns."""


@gluon.constexpr_function
def readers(tensor):
    """Return how many groups of warps read a tensor."""
    return (3, 1, 2, 2, 2, 3, 2, 1, 1)[tensor]


@gluon.jit
def _turns(tiles, NT, COUNT, GROUP: gl.constexpr):
    """Return the number of tiles that this program does: of all heads of v that share a head of q and k in turn."""
    all_tiles = tiles // NT // GROUP * COUNT
    return (all_tiles - gl.program_id(0) + gl.num_programs(0) - 1) // gl.num_programs(0) * GROUP


@gluon.jit
def _place(turn, table, NT, COUNT, GROUP: gl.constexpr, PACKED: gl.constexpr):
    """Return of the turn-th tile: its head, its number in the head, and first token and chunk."""
    item = gl.program_id(0) + turn // GROUP * gl.num_programs(0)
    bh, n = item // COUNT * GROUP + turn % GROUP, item % COUNT
    token, chunk = n * TOKENS, n
    if PACKED:
        n = gl.load(table + n * 8 + 5)
        token, chunk = gl.load(table + n * 8), gl.load(table + n * 8 + 2)
    return bh, n, token, chunk


@gluon.jit
def _add_up(x, sums, turn, GROUP: gl.constexpr):
    """Return the sum of x [TOKENS, KEYS] over the last turns; ``sums`` holds it from turn to turn of a group."""
    layout: gl.constexpr = layout_of(KEYS)
    row = gl.program_id(0) * TOKENS + gl.arange(0, TOKENS, layout=gl.SliceLayout(1, layout))
    at = sums + row[:, None] * KEYS + gl.arange(0, KEYS, layout=gl.SliceLayout(0, layout))[None, :]
    if turn % GROUP > 0:
        x += gl.load(at)
    if turn % GROUP < GROUP - 1:
        gl.store(at, x)
    return x


@gluon.jit
def _fill(tensor, rows, at, tile, ready, free, phase):
    """Copy a tile to shared memory once nobody needs the last one."""
    mbarrier.wait(free.index(tensor), phase)
    mbarrier.expect(ready.index(tensor), rows.block_type.nbytes)
    copy_in(rows, at, ready.index(tensor), tile)


@gluon.jit
def load_tiles(
    q_rows, k_rows, v_rows, do_rows, dv_rows, x_rows, dr_rows, s_rows, ds_rows, gates_rows, q, k, v, do, dv, x, dr, s,
    ds, gates, ready, free, gates_ready, gates_free, table, tiles, NT, COUNT, H, GROUP: gl.constexpr,
    ADD: gl.constexpr, PACKED: gl.constexpr, BLOCKS: gl.constexpr,
):  # fmt: skip
    """Copy all tensors of each tile, in the order in which those of the last are needed no longer."""
    for step in range(_turns(tiles, NT, COUNT, GROUP)):
        bh, n, token, _ = _place(step, table, NT, COUNT, GROUP, PACKED)
        tile, b, h = bh * NT + n, bh // H, bh % H
        stage = step % 2
        mbarrier.wait(gates_free.index(stage), ((step // 2) & 1) ^ 1)
        mbarrier.expect(gates_ready.index(stage), gates_rows.block_type.nbytes)
        copy_in(gates_rows, [tile * GATES], gates_ready.index(stage), gates.index(stage))
        for block in gl.static_range(BLOCKS):
            phase = ((step * BLOCKS + block) & 1) ^ 1
            column = block * COLUMNS
            _fill(DO, do_rows, [b, token, h * BLOCKS * COLUMNS + column], do, ready, free, phase)
            _fill(DR, dr_rows, [tile * TOKENS, column], dr, ready, free, phase)
            _fill(V, v_rows, [b, token, h * BLOCKS * COLUMNS + column], v, ready, free, phase)
            if ADD:
                _fill(OLD_DV, dv_rows, [b, token, h * BLOCKS * COLUMNS + column], dv, ready, free, phase)
            _fill(X, x_rows, [tile * TOKENS, column], x, ready, free, phase)
            _fill(S, s_rows, [tile * KEYS, column], s, ready, free, phase)
            _fill(DS, ds_rows, [tile * KEYS, column], ds, ready, free, phase)
            if block == 0:
                _fill(K, k_rows, [b, token, h // GROUP * KEYS], k, ready, free, (step & 1) ^ 1)
                _fill(Q, q_rows, [b, token, h // GROUP * KEYS], q, ready, free, (step & 1) ^ 1)


@gluon.jit
def differentiate_queries(
    gates_tiles, q, k, v, do, x, dr, s, dq_tile, dv_tile, dq_rows, dv_rows, group_sums, sums, ready, free, gates_ready,
    gates_free, dm_tile, handed_ready, handed_free, table, tiles, scale, NT, COUNT, H, GROUP: gl.constexpr,
    ADD: gl.constexpr, PACKED: gl.constexpr, BLOCKS: gl.constexpr,
):  # fmt: skip
    """Compute dq, dv, q . dq and dR . v of each tile, and dM for `differentiate_writes`."""
    layout: gl.constexpr = layout_of(KEYS)
    dtype: gl.constexpr = x.dtype
    i, some = gl.arange(0, TOKENS, layout=gl.SliceLayout(1, layout)), gl.arange(0, 16, layout=gl.SliceLayout(1, ROWS))
    for step in range(_turns(tiles, NT, COUNT, GROUP)):
        bh, n, token, _ = _place(step, table, NT, COUNT, GROUP, PACKED)
        tile, b, h = bh * NT + n, bh // H, bh % H
        gates = gates_tiles.index(step % 2)
        mbarrier.wait(gates_ready.index(step % 2), (step // 2) & 1)
        scores = gl.zeros([TOKENS, TOKENS], gl.float32, layout_of(TOKENS))
        total = gl.zeros([TOKENS, KEYS], gl.float32, layout)
        for block in gl.static_range(BLOCKS):
            phase = (step * BLOCKS + block) & 1
            mbarrier.wait(ready.index(DO), phase)
            mbarrier.wait(ready.index(X), phase)
            scores = add_product(do, x.permute((1, 0)), scores)
            mbarrier.arrive(free.index(X))
            mbarrier.wait(ready.index(S), phase)
            total = add_product(do, s.permute((1, 0)), total)
            mbarrier.arrive(free.index(S))
            mbarrier.arrive(free.index(DO))
            mbarrier.wait(ready.index(DR), phase)
            mbarrier.wait(ready.index(V), phase)
            if ADD:
                mbarrier.wait(ready.index(OLD_DV), phase)
            else:
                tma.store_wait(0)
            for part in gl.static_range(4):
                values = dr.slice(part * 16, 16).load(ROWS).to(gl.float32)
                of_v = gl.sum(values * v.slice(part * 16, 16).load(ROWS).to(gl.float32), 1)
                of_columns = gates.slice(GATES + part * 16, 16)  # the copy of the gates is longer than they are
                if block > 0:
                    of_v += of_columns.load(gl.SliceLayout(1, ROWS))
                if block + 1 < BLOCKS:
                    of_columns.store(of_v)
                else:
                    gl.store(sums + (2 * tiles + tile) * TOKENS + part * 16 + some, of_v)
                values = values * gates.slice(2 * TOKENS + part * 16, 16).load(gl.SliceLayout(1, ROWS))[:, None]
                rows = dv_tile.reshape([TOKENS, COLUMNS]).slice(part * 16, 16)
                if ADD:
                    values += rows.load(ROWS).to(gl.float32)
                rows.store(values.to(dtype))
            mbarrier.arrive(free.index(DR))
            mbarrier.arrive(free.index(V))
            fence_async_shared()
            copy_out(dv_rows, [b, token, (h * BLOCKS + block) * COLUMNS], dv_tile)
            if ADD:
                tma.store_wait(0)
                mbarrier.arrive(free.index(OLD_DV))
        from_start, _, _ = gates_by_row(gates, KEYS)
        dm = (scores * decays(gates, False) * scale).to(dtype)
        mbarrier.arrive(gates_free.index(step % 2))
        mbarrier.wait(handed_free.index(DM), (step & 1) ^ 1)
        dm_tile.store(dm)
        fence_async_shared()
        mbarrier.arrive(handed_ready.index(DM))
        mbarrier.wait(ready.index(K), step & 1)
        total = add_product(as_left(dm, KEYS), k, total * (scale * from_start)[:, None])
        mbarrier.arrive(free.index(K))
        mbarrier.wait(ready.index(Q), step & 1)
        of_q = gl.sum(total * q.load(layout).to(gl.float32), 1)
        mbarrier.arrive(free.index(Q))
        if GROUP > 1:
            total = _add_up(total, group_sums, step, GROUP)
        if step % GROUP == GROUP - 1:
            tma.store_wait(0)
            dq_tile.reshape([TOKENS, KEYS]).store(total.to(dtype))
            fence_async_shared()
            copy_out(dq_rows, [b, token, h // GROUP * KEYS], dq_tile)
        gl.store(sums + tile * TOKENS + i, of_q)
    tma.store_wait(0)


@gluon.jit
def differentiate_reads(
    gates_tiles, k, x, dr, s, ds, dk_tile, sums, overlaps, ready, free, gates_ready, gates_free, dl_tile,
    handed_ready, handed_free, table, tiles, NT, COUNT, GROUP: gl.constexpr, PACKED: gl.constexpr,
    BLOCKS: gl.constexpr,
):  # fmt: skip
    """Compute beta dL and beta e of each tile, for `differentiate_writes`, k . e and <dS, S>."""
    layout: gl.constexpr = layout_of(KEYS)
    square: gl.constexpr = layout_of(TOKENS)
    dtype: gl.constexpr = x.dtype
    i = gl.arange(0, TOKENS, layout=gl.SliceLayout(1, layout))
    for step in range(_turns(tiles, NT, COUNT, GROUP)):
        bh, n, _, _ = _place(step, table, NT, COUNT, GROUP, PACKED)
        tile = bh * NT + n
        gates = gates_tiles.index(step % 2)
        mbarrier.wait(gates_ready.index(step % 2), (step // 2) & 1)
        scores = gl.zeros([TOKENS, TOKENS], gl.float32, square)
        reads = gl.zeros([TOKENS, KEYS], gl.float32, layout)
        products = gl.zeros([16, COLUMNS], gl.float32, ROWS)
        for block in gl.static_range(BLOCKS):
            phase = (step * BLOCKS + block) & 1
            mbarrier.wait(ready.index(DR), phase)
            mbarrier.wait(ready.index(X), phase)
            scores = add_product(dr, x.permute((1, 0)), scores)
            mbarrier.arrive(free.index(X))
            mbarrier.wait(ready.index(S), phase)
            mbarrier.wait(ready.index(DS), phase)
            for part in gl.static_range(KEYS // 16):
                rows = s.slice(part * 16, 16).load(ROWS).to(gl.float32)
                products += rows * ds.slice(part * 16, 16).load(ROWS).to(gl.float32)
            mbarrier.arrive(free.index(DS))
            reads = add_product(dr, s.permute((1, 0)), reads)
            mbarrier.arrive(free.index(S))
            mbarrier.arrive(free.index(DR))
        gl.store(overlaps + tiles + tile, gl.sum(gl.sum(products, 1), 0))
        from_start, _, strength = gates_by_row(gates, KEYS)
        dl = scores * -decays(gates, True)
        by_strength = strengths(gates, gl.SliceLayout(1, square))[:, None]
        mbarrier.arrive(gates_free.index(step % 2))
        mbarrier.wait(handed_free.index(DL), (step & 1) ^ 1)
        dl_tile.store((dl * by_strength).to(dtype))
        fence_async_shared()
        mbarrier.arrive(handed_ready.index(DL))
        mbarrier.wait(ready.index(K), step & 1)
        reads = add_product(as_left(dl.to(dtype), KEYS), k, reads * -from_start[:, None])
        read = gl.sum(reads * k.load(layout).to(gl.float32), 1)
        mbarrier.arrive(free.index(K))
        mbarrier.wait(handed_free.index(E), (step & 1) ^ 1)
        dk_tile.reshape([TOKENS, KEYS]).store((reads * strength[:, None]).to(dtype))
        mbarrier.arrive(handed_ready.index(E))
        gl.store(sums + (3 * tiles + tile) * TOKENS + i, read)


@gluon.jit
def differentiate_writes(
    gates_tiles, route, q, k, x, ds, dm_tile, dl_tile, dk_tile, dk_rows, group_sums, sums, overlaps, ready, free,
    gates_ready, gates_free, handed_ready, handed_free, table, tiles, NT, COUNT, H, R, N, HAS_ROUTE: gl.constexpr,
    GROUP: gl.constexpr, PACKED: gl.constexpr, BLOCKS: gl.constexpr,
):  # fmt: skip
    """Compute w of each tile, dk = beta e + w, -k . w and <dS, what the tile writes>."""
    layout: gl.constexpr = layout_of(KEYS)
    dtype: gl.constexpr = x.dtype
    i = gl.arange(0, TOKENS, layout=gl.SliceLayout(1, layout))
    for step in range(_turns(tiles, NT, COUNT, GROUP)):
        bh, n, token, chunk = _place(step, table, NT, COUNT, GROUP, PACKED)
        tile, b, h = bh * NT + n, bh // H, bh % H
        writes = gl.zeros([TOKENS, KEYS], gl.float32, layout)
        for block in gl.static_range(BLOCKS):
            phase = (step * BLOCKS + block) & 1
            mbarrier.wait(ready.index(X), phase)
            mbarrier.wait(ready.index(DS), phase)
            writes = add_product(x, ds.permute((1, 0)), writes)
            mbarrier.arrive(free.index(X))
            mbarrier.arrive(free.index(DS))
        tma.store_wait(0)
        if step > 0:
            mbarrier.arrive(handed_free.index(E))  # dk of the last tile is copied
        mbarrier.wait(gates_ready.index(step % 2), (step // 2) & 1)
        _, to_end, _ = gates_by_row(gates_tiles.index(step % 2), KEYS)
        mbarrier.arrive(gates_free.index(step % 2))
        mbarrier.wait(ready.index(K), step & 1)
        gained = gl.sum(gl.sum(writes * k.load(layout).to(gl.float32), 1) * to_end, 0)
        if HAS_ROUTE:
            to_end = to_end * gl.load(route + (b * N + chunk) * R + h // (H // R))
        mbarrier.wait(handed_ready.index(DL), step & 1)
        writes = add_product(dl_tile.permute((1, 0)), k, writes * to_end[:, None])
        mbarrier.arrive(handed_free.index(DL))
        mbarrier.wait(ready.index(Q), step & 1)
        mbarrier.wait(handed_ready.index(DM), step & 1)
        writes = add_product(dm_tile.permute((1, 0)), q, writes)
        mbarrier.arrive(handed_free.index(DM))
        mbarrier.arrive(free.index(Q))
        written = gl.sum(writes * k.load(layout).to(gl.float32), 1)
        mbarrier.arrive(free.index(K))
        mbarrier.wait(handed_ready.index(E), step & 1)
        keys = dk_tile.reshape([TOKENS, KEYS])
        writes += keys.load(layout).to(gl.float32)
        if GROUP > 1:
            writes = _add_up(writes, group_sums, step, GROUP)
        if step % GROUP == GROUP - 1:
            keys.store(writes.to(dtype))
            fence_async_shared()
            copy_out(dk_rows, [b, token, h // GROUP * KEYS], dk_tile)
        gl.store(sums + (tiles + tile) * TOKENS + i, -written)
        gl.store(overlaps + tile, gained)
    tma.store_wait(0)
