"""Softmax attention over the last ``window`` tokens, forward and backward, reading only tiles within the window.

A block of queries has three ranges of keys, from the oldest on: tiles cut by the window's far edge, tiles that all of
its queries see whole, and tiles cut by the diagonal. Only the first and the last range need a mask. In the backward
pass a block of keys has the same three ranges of queries in the opposite order. All products are computed transposed,
[keys, queries], and dq is summed over programs by atomic additions in float32, as in `triton_backward`.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention.triton_backward import add_gradients, output_products
from nas.kernels.chunk_softmax_attention.triton_backward import choose_launch as choose_backward_launch
from nas.kernels.chunk_softmax_attention.triton_documents import Documents, block_table, load_block
from nas.kernels.chunk_softmax_attention.triton_forward import MAX_VALUE_WIDTH
from nas.kernels.chunk_softmax_attention.triton_forward import choose_launch as choose_routed_launch
from nas.kernels.chunk_softmax_attention.triton_tiles import (
    LOG2_E,
    LOWEST,
    Launch,
    accumulate,
    load_rows,
    padded,
    raise_top,
    store_rows,
)
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.triton_dot import dot
from nas.kernels.triton_support import dot_precision


def choose_forward_launch(dtype: torch.dtype, key_dim: int, value_dim: int, device: torch.device) -> Launch:
    """Return tile sizes for operands of ``dtype`` with these head dims; small blocks: the window bounds reuse."""
    if not has_large_shared_memory(device):
        return choose_routed_launch(dtype, key_dim, value_dim, False, 0, device)
    width = padded(key_dim, dtype) + min(padded(value_dim, dtype), MAX_VALUE_WIDTH)
    if dtype == torch.float32:
        return Launch(64, 32, 4, 2) if width <= 256 else Launch(64, 16, 4, 2)
    return Launch(128, 64, 8, 2) if width > 192 else Launch(64, 64, 4, 2)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    scale: float,
    launch: Launch | None = None,
    documents: Documents | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute output and log-sum-exp; ``launch`` replaces the chosen tiles.

    Args:
        q: [B, T, H, K], k [B, T, G, K] and v [B, T, G, V], all of one dtype, the last dimension contiguous.
        window: tokens that a query sees, from 1 to T.
        documents: packed documents of a batch of one, each attended to alone; None for none.

    Returns:
        o [B, T, H, V] in the dtype of v and lse [B, H, T] float32: log2 of the denominator of o.
    """
    batch, length, heads, key_dim = q.shape
    value_dim = v.shape[-1]
    o = v.new_empty(batch, length, heads, value_dim)
    lse = torch.empty(batch, heads, length, dtype=torch.float32, device=v.device)
    launch = launch or choose_forward_launch(q.dtype, key_dim, value_dim, q.device)
    width = min(padded(value_dim, q.dtype), MAX_VALUE_WIDTH)
    table = None if documents is None else block_table(documents, launch.queries, q.device)
    blocks = triton.cdiv(length, launch.queries) if table is None else len(table)
    programs = blocks * triton.cdiv(value_dim, width) * batch * heads
    _window_forward_kernel[(programs,)](
        q, k, v, o, lse, table, scale * LOG2_E, length, window, heads,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        K=key_dim, V=value_dim, BK=padded(key_dim, q.dtype), BV=width, BM=launch.queries, BN=launch.keys,
        PRECISION=dot_precision(q.dtype), SHARE=heads // k.shape[2], PACKED=table is not None, STAGES=launch.stages,
        num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    return o, lse


def backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    window: int,
    scale: float,
    launch: Launch | None = None,
    documents: Documents | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute all gradients; ``launch`` replaces the chosen tiles.

    Args:
        do: [B, T, H, V], the gradient of o; its last dimension is contiguous, as those of q, k and v.
        q, k, v, window, documents: the arguments of `forward`.
        o, lse: its results.

    Returns:
        dq / scale [B, T, H, K] float32; dk [B, T, G, K] and dv [B, T, G, V] in the dtype of q.
    """
    batch, length, heads, key_dim = q.shape
    groups, value_dim = v.shape[2:]
    dq_sum = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
    dk = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    dv = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    launch = launch or choose_backward_launch(q.dtype, key_dim, value_dim, q.device)
    table = None if documents is None else block_table(documents, launch.keys, q.device)
    blocks = triton.cdiv(length, launch.keys) if table is None else len(table)
    _window_backward_kernel[(blocks * batch * groups,)](
        do, q, k, v, lse, output_products(do, o), table, dq_sum, dk, dv,
        scale, scale * LOG2_E, length, window, groups,
        *do.stride()[:3], *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        K=key_dim, V=value_dim, BK=padded(key_dim, q.dtype), BV=padded(value_dim, q.dtype),
        BM=launch.queries, BN=launch.keys, PRECISION=dot_precision(q.dtype), SHARE=heads // groups,
        PACKED=table is not None, STAGES=launch.stages, num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    return dq_sum, dk, dv


@triton.jit(do_not_specialize=["window", "heads"])
def _window_forward_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, table_ptr, scale, T, window, heads,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr, SHARE: tl.constexpr, PACKED: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Compute BM queries of one head and BV columns of v; blocks that read the same keys are neighbours."""
    tl.static_assert(BM % BN == 0)
    splits: tl.constexpr = (V + BV - 1) // BV
    tokens = T
    blocks = tl.num_programs(0) // (splits * heads) if PACKED else tl.cdiv(T, BM)
    split = tl.program_id(0) % splits
    block = tl.program_id(0) // splits % blocks
    start = block * BM
    if PACKED:  # from here on the document is the sequence
        origin, T, _, _, start = load_block(table_ptr, block, BM)
        q_ptr, k_ptr, v_ptr = q_ptr + origin * q_token, k_ptr + origin * k_token, v_ptr + origin * v_token
        o_ptr, lse_ptr = o_ptr + origin * heads * V, lse_ptr + origin
    head_index = tl.program_id(0) // (splits * blocks)
    batch, head = (head_index // heads).to(tl.int64), (head_index % heads).to(tl.int64)
    q_ptr += batch * q_batch + head * q_head + start.to(tl.int64) * q_token
    k_ptr += batch * k_batch + head // SHARE * k_head
    v_ptr += batch * v_batch + head // SHARE * v_head + split * BV
    dim_v = V - split * BV

    row = tl.arange(0, BM)
    present = start + row < T
    q = load_rows(q_ptr, row, present, q_token, K, BK, K == BK, True)
    top = tl.full([BM], LOWEST, tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, BV], tl.float32)
    first = tl.maximum(start - window + 1, 0) // BN * BN
    whole = tl.minimum(tl.cdiv(tl.maximum(start + BM - window, 0), BN) * BN, start)
    acc, total, top = _attend_range(
        acc, total, top, q, k_ptr, v_ptr, start, first, whole, scale, T, window, k_token, v_token, dim_v,
        K, V, BK, BV, BM, BN, True, PRECISION, STAGES,
    )  # fmt: skip
    acc, total, top = _attend_range(
        acc, total, top, q, k_ptr, v_ptr, start, whole, start, scale, T, window, k_token, v_token, dim_v,
        K, V, BK, BV, BM, BN, False, PRECISION, STAGES,
    )  # fmt: skip
    acc, total, top = _attend_range(
        acc, total, top, q, k_ptr, v_ptr, start, start, tl.minimum(start + BM, T), scale, T, window, k_token, v_token,
        dim_v, K, V, BK, BV, BM, BN, True, PRECISION, STAGES,
    )  # fmt: skip

    o_ptr += (batch * tokens + start) * heads * V + head * V + split * BV
    store_rows(o_ptr, row, present, heads * V, dim_v, acc / total[:, None], BV)
    if split == 0:
        lse_ptr += head_index.to(tl.int64) * tokens + start
        tl.store(lse_ptr + row, top + tl.log2(total), mask=present)


@triton.jit
def _attend_range(
    acc, total, top, q, k_ptr, v_ptr, start, first, end, scale,
    T, window, k_token, v_token, dim_v,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Attend with the queries from ``start`` on to the keys from ``first`` to ``end``; all pairs unless MASKED."""
    query, column = start + tl.arange(0, BM), tl.arange(0, BN)
    for begin in tl.range(first, end, BN, num_stages=STAGES):
        key, token = begin + column, tl.cast(begin, tl.int64)
        k = load_rows(k_ptr + token * k_token, column, key < T, k_token, K, BK, K == BK, MASKED)
        v = load_rows(v_ptr + token * v_token, column, key < T, v_token, dim_v, BV, V % BV == 0, MASKED)
        s = dot(q, tl.trans(k), None, PRECISION) * scale
        if MASKED:
            age = query[:, None] - key[None, :]
            s = tl.where((age >= 0) & (age < window), s, float("-inf"))
        acc, total, top = raise_top(acc, total, top, tl.max(s, 1))
        acc, total = accumulate(acc, total, tl.exp2(s - top[:, None]), v, PRECISION)
    return acc, total, top


@triton.jit(do_not_specialize=["window", "heads"])
def _window_backward_kernel(
    do_ptr, q_ptr, k_ptr, v_ptr, lse_ptr, delta_ptr, table_ptr, dq_ptr, dk_ptr, dv_ptr,
    scale, scale_2, T, window, heads,
    do_batch, do_token, do_head, q_batch, q_token, q_head,
    k_batch, k_token, k_head, v_batch, v_token, v_head,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr, SHARE: tl.constexpr, PACKED: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of BN keys of one head, from the queries of SHARE heads.

    Blocks that read the same queries are neighbours. ``heads`` counts heads of keys.
    """
    tl.static_assert(BN % BM == 0)
    tokens = T
    query_heads = heads * SHARE
    blocks = tl.num_programs(0) // heads if PACKED else tl.cdiv(T, BN)
    head_index = tl.program_id(0) // blocks
    start = tl.program_id(0) % blocks * BN
    if PACKED:  # from here on the document is the sequence
        origin, T, _, _, start = load_block(table_ptr, tl.program_id(0) % blocks, BN)
        q_ptr, k_ptr, v_ptr = q_ptr + origin * q_token, k_ptr + origin * k_token, v_ptr + origin * v_token
        do_ptr, lse_ptr, delta_ptr = do_ptr + origin * do_token, lse_ptr + origin, delta_ptr + origin
        dq_ptr += origin * query_heads * K
        dk_ptr, dv_ptr = dk_ptr + origin * heads * K, dv_ptr + origin * heads * V
    batch, head = (head_index // heads).to(tl.int64), (head_index % heads).to(tl.int64)
    do_ptr += batch * do_batch + head * SHARE * do_head
    q_ptr += batch * q_batch + head * SHARE * q_head
    k_ptr += batch * k_batch + head * k_head + start.to(tl.int64) * k_token
    v_ptr += batch * v_batch + head * v_head + start.to(tl.int64) * v_token
    lse_ptr += head_index.to(tl.int64) * SHARE * tokens
    delta_ptr += head_index.to(tl.int64) * SHARE * tokens
    dq_ptr += batch * tokens * query_heads * K + head * SHARE * K
    dk_ptr += (batch * tokens + start) * heads * K + head * K
    dv_ptr += (batch * tokens + start) * heads * V + head * V

    column = tl.arange(0, BN)
    present = start + column < T
    k = load_rows(k_ptr, column, present, k_token, K, BK, K == BK, True)
    v = load_rows(v_ptr, column, present, v_token, V, BV, V == BV, True)
    dk = tl.zeros([BN, BK], tl.float32)
    dv = tl.zeros([BN, BV], tl.float32)
    whole = tl.minimum(start + BN, T)
    cut = tl.minimum(start + tl.maximum(window // BM * BM, BN), T)  # from here on the far edge cuts tiles
    for _member in tl.range(0, SHARE, num_stages=1, disable_licm=True):  # the query heads of this head
        dk, dv = _differentiate_range(
            dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, start, start, whole, scale_2, T, window,
            query_heads, q_token, do_token, K, V, BK, BV, BM, BN, True, PRECISION, STAGES,
        )  # fmt: skip
        dk, dv = _differentiate_range(
            dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, start, start + BN, cut, scale_2, T, window,
            query_heads, q_token, do_token, K, V, BK, BV, BM, BN, False, PRECISION, STAGES,
        )  # fmt: skip
        dk, dv = _differentiate_range(
            dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, start, cut, tl.minimum(start + BN - 1 + window, T),
            scale_2, T, window, query_heads, q_token, do_token, K, V, BK, BV, BM, BN, True, PRECISION, STAGES,
        )  # fmt: skip
        q_ptr, do_ptr, dq_ptr = q_ptr + q_head, do_ptr + do_head, dq_ptr + K
        lse_ptr, delta_ptr = lse_ptr + tokens, delta_ptr + tokens
    store_rows(dk_ptr, column, present, heads * K, K, dk * scale, BK)
    store_rows(dv_ptr, column, present, heads * V, V, dv, BV)


@triton.jit
def _differentiate_range(
    dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, start, first, end,
    scale, T, window, heads, q_token, do_token,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Add the contribution of queries ``first`` to ``end`` to the keys from ``start`` on; all pairs unless MASKED."""
    key, row = start + tl.arange(0, BN), tl.arange(0, BM)
    none = tl.zeros([BN], tl.float32)
    for position in tl.range(first, end, BM, num_stages=STAGES):
        token = tl.cast(position, tl.int64)
        age = position + row[None, :] - key[:, None]
        dk, dv, _ = add_gradients(
            dk, dv, none, k, v, none, (age >= 0) & (age < window), q_ptr + token * q_token, do_ptr + token * do_token,
            lse_ptr + token, delta_ptr + token, dq_ptr + token * heads * K, row, row < T - position,
            scale, heads, q_token, do_token, K, V, BK, BV, MASKED, True, False, PRECISION,
        )  # fmt: skip
    return dk, dv
