"""The gradients of the inputs for Hopper: what `triton_backward.differentiate` computes, for keys of 128 columns.

As many programs as multiprocessors take the tiles in turn (see `products`), and of each 128 columns of v at a time. One
group of warps loads the tensors of the next columns as soon as nobody needs those of the last. With the notation of
`triton_backward`, one group computes dq and dv, one e and <dS, S>, and one w and dk.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

from nas.kernels.gated_delta_rule.hopper.gradient_groups import (
    COLUMNS,
    TENSORS,
    differentiate_queries,
    differentiate_reads,
    differentiate_writes,
    load_tiles,
    readers,
)
from nas.kernels.gated_delta_rule.hopper.products import (
    KEYS,
    TOKENS,
    barriers,
    buffer,
    gates_buffers,
    gates_of,
    matrix,
    shared_layout,
)


@gluon.jit
def _heads(pointer, B, T, columns, batch_stride, token_stride):
    """Return a descriptor of [B, T, columns], copied in tiles of one head."""
    layout: gl.constexpr = shared_layout(pointer.dtype.element_ty, 1, TOKENS, KEYS)
    return tma.make_tensor_descriptor(
        pointer, [B, T, columns], [batch_stride, token_stride, 1], [1, TOKENS, KEYS], layout
    )


@gluon.jit
def _head(DTYPE: gl.constexpr):
    """Return a tile of one head in shared memory."""
    return gl.allocate_shared_memory(DTYPE, [1, TOKENS, KEYS], shared_layout(DTYPE, 1, TOKENS, KEYS))


@gluon.jit(do_not_specialize=["tiles", "T", "NT", "COUNT", "N"])
def differentiate(
    q, k, v, do, route, table, gates, x, dr, states, dstates, dq, dk, dv, dq_sums, dk_sums, sums, overlaps,
    tiles, scale, B, T, H, NT, COUNT, R, N,
    q_b, q_t, k_b, k_t, v_b, v_t, do_b, do_t,
    VALUE_DIM: gl.constexpr, GROUP: gl.constexpr, HAS_ROUTE: gl.constexpr, ADD: gl.constexpr, PACKED: gl.constexpr,
):  # fmt: skip
    """Compute dq, dk and dv, added to its contents with ADD, and what `triton_backward.differentiate_gates` needs.

    The heads of each tensor lie side by side in memory. Of each head COUNT of the NT tiles are done, the first ones in
    the order in ``table`` with PACKED. The ``tiles`` of all heads have ``sums`` and ``overlaps`` as of
    `triton_backward.differentiate`. Where GROUP heads of v share a head of q and k, dq and dk are added up in
    ``dq_sums`` and ``dk_sums``, [programs, TOKENS, KEYS] float32 each.
    """
    dtype: gl.constexpr = k.dtype.element_ty
    BLOCKS: gl.constexpr = VALUE_DIM // COLUMNS
    keys, values = H // GROUP * KEYS, H * VALUE_DIM
    q_rows, k_rows = _heads(q, B, T, keys, q_b, q_t), _heads(k, B, T, keys, k_b, k_t)
    v_rows, do_rows = _heads(v, B, T, values, v_b, v_t), _heads(do, B, T, values, do_b, do_t)
    dq_rows, dk_rows = _heads(dq, B, T, keys, T * keys, keys), _heads(dk, B, T, keys, T * keys, keys)
    dv_rows = _heads(dv, B, T, values, T * values, values)
    x_rows = matrix(x, tiles * TOKENS, VALUE_DIM, VALUE_DIM, TOKENS, COLUMNS)
    dr_rows = matrix(dr, tiles * TOKENS, VALUE_DIM, VALUE_DIM, TOKENS, COLUMNS)
    s_rows = matrix(states, tiles * KEYS, VALUE_DIM, VALUE_DIM, KEYS, COLUMNS)
    ds_rows = matrix(dstates, tiles * KEYS, VALUE_DIM, VALUE_DIM, KEYS, COLUMNS)
    q_head, k_head, v_head, do_head = _head(dtype), _head(dtype), _head(dtype), _head(dtype)
    dq_head, dk_head, dv_head = _head(dtype), _head(dtype), _head(dtype)
    q_tile, k_tile = q_head.reshape([TOKENS, KEYS]), k_head.reshape([TOKENS, KEYS])
    v_tile, do_tile = v_head.reshape([TOKENS, COLUMNS]), do_head.reshape([TOKENS, COLUMNS])
    x_tile, dr_tile = buffer(dtype, TOKENS, COLUMNS), buffer(dtype, TOKENS, COLUMNS)
    s_tile, ds_tile = buffer(dtype, KEYS, COLUMNS), buffer(dtype, KEYS, COLUMNS)
    gates_rows, gates_tiles = gates_of(gates, tiles), gates_buffers(2)
    gates_ready, gates_free = barriers(2, 1), barriers(2, 3)
    dm_tile, dl_tile = buffer(dtype, TOKENS, TOKENS), buffer(dtype, TOKENS, TOKENS)
    ready, free = barriers(TENSORS, 1), gl.allocate_shared_memory(gl.int64, [TENSORS, 1], mbarrier.MBarrierLayout())
    for tensor in gl.static_range(TENSORS):
        mbarrier.init(free.index(tensor), count=readers(tensor))
    handed_ready, handed_free = barriers(3, 1), barriers(3, 1)
    gl.warp_specialize(
        [
            (
                differentiate_writes,
                (
                    gates_tiles, route, q_tile, k_tile, x_tile, ds_tile, dm_tile, dl_tile, dk_head, dk_rows, dk_sums,
                    sums, overlaps, ready, free, gates_ready, gates_free, handed_ready, handed_free, table, tiles,
                    NT, COUNT, H, R, N, HAS_ROUTE, GROUP, PACKED, BLOCKS,
                ),
            ),
            (
                differentiate_reads,
                (
                    gates_tiles, k_tile, x_tile, dr_tile, s_tile, ds_tile, dk_head, sums, overlaps, ready, free,
                    gates_ready, gates_free, dl_tile, handed_ready, handed_free, table, tiles, NT, COUNT, GROUP,
                    PACKED, BLOCKS,
                ),
            ),
            (
                differentiate_queries,
                (
                    gates_tiles, q_tile, k_tile, v_tile, do_tile, x_tile, dr_tile, s_tile, dq_head, dv_head, dq_rows,
                    dv_rows, dq_sums, sums, ready, free, gates_ready, gates_free, dm_tile, handed_ready, handed_free,
                    table, tiles, scale, NT, COUNT, H, GROUP, ADD, PACKED, BLOCKS,
                ),
            ),
            (
                load_tiles,
                (
                    q_rows, k_rows, v_rows, do_rows, dv_rows, x_rows, dr_rows, s_rows, ds_rows, gates_rows, q_head,
                    k_head, v_head, do_head, dv_head, x_tile, dr_tile, s_tile, ds_tile, gates_tiles, ready, free,
                    gates_ready, gates_free, table, tiles, NT, COUNT, H, GROUP, ADD, PACKED, BLOCKS,
                ),
            ),
        ],
        [4, 4, 1],
        [176, 168, 24],
    )  # fmt: skip
