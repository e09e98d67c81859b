"""Backward pass of softmax attention: each program keeps a block of keys and loops over the queries that see it.

With a route `triton_own_chunks` runs first. It writes delta, the complete gradients of skipped chunks' keys and values,
and the part of dq that comes from a query's own chunk. Each program here then holds BN active keys of the permuted axis
of `triton_index`; without a route, any BN keys.

All products are computed transposed, [keys, queries]: a product's result is then never transposed to be a left operand,
which Triton compiles wrongly on Hopper (flash-linear-attention#640). A program writes dk, dv and the route's gradient
of its keys. dq is summed over programs by atomic additions in float32; their order, and so dq's last bits, vary from
run to run.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention import triton_own_chunks
from nas.kernels.chunk_softmax_attention.triton_documents import Documents, block_table, load_block
from nas.kernels.chunk_softmax_attention.triton_index import RouteIndex
from nas.kernels.chunk_softmax_attention.triton_tiles import (
    LOG2_E,
    Launch,
    load_rows,
    padded,
    permuted_chunks,
    score_gradients,
    store_rows,
    weights,
)
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.triton_dot import dot
from nas.kernels.triton_support import dot_precision

DELTA_ROWS = 32
"""Tokens in a program of the kernel that sums do * o."""


def choose_launch(dtype: torch.dtype, key_dim: int, value_dim: int, device: torch.device) -> Launch:
    """Return tile sizes for operands of ``dtype`` with these head dims."""
    width = padded(key_dim, dtype) + padded(value_dim, dtype)
    if not has_large_shared_memory(device):
        return _small_launch(dtype, width)
    if dtype == torch.float32:
        if width <= 192:
            return Launch(32, 32, 8, 1)
        return Launch(16, 32, 8, 1) if width <= 384 else Launch(16, 16, 8, 1)
    if width <= 192:
        return Launch(64, 128, 8, 3)
    return Launch(64, 64, 8, 2 if width <= 256 else 1)


def _small_launch(dtype: torch.dtype, width: int) -> Launch:
    """Return tile sizes that fit in 99 KiB of shared memory, for rows of k and v of ``width`` together."""
    if dtype == torch.float32:
        return Launch(16, 16, 8 if width <= 256 else 4, 1)  # more warps spill thrice as much on 8.0
    if width <= 256:
        return Launch(64 if width <= 192 else 32, 64, 8, 2)
    return Launch(16, 32 if width <= 384 else 16, 8, 1)


def backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    index: RouteIndex | None,
    chunk_size: int,
    scale: float,
    route_gradient: bool,
    launch: Launch | None = None,
    documents: Documents | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Compute all gradients; ``launch`` replaces the chosen tiles.

    Args:
        do: [B, T, H, V], the gradient of o; its last dimension is contiguous, as those of q, k and v.
        q, k, v, index, documents, first: the arguments of `triton_forward.forward`; the rows of do before first are 0.
        o, lse: its results.
        route_gradient: whether to compute the gradient of the log-weights.

    Returns:
        dq / scale [B, T, H, K] float32; dk [B, T, G, K] and dv [B, T, G, V] in the dtype of q; delta [B, H, T] float32,
        the sums of do * o over V. With ``route_gradient`` also each key's part of the gradient of its chunk's route,
        [B * G, N * chunk_size] float32, zero for the keys of skipped chunks.
    """
    batch, length, heads, key_dim = q.shape
    groups, value_dim = v.shape[2:]
    routed = index is not None
    chunks = index.order.shape[1] if index is not None else 0
    group = batch * groups // index.order.shape[0] if index is not None else 1
    launch = launch or choose_launch(q.dtype, key_dim, value_dim, q.device)
    dk = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    dv = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    dweight = q.new_empty(batch * groups, chunks * chunk_size, dtype=torch.float32) if route_gradient else None
    if index is None:
        dq_sum = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
        delta = output_products(do, o)
    else:
        dq_sum, delta = triton_own_chunks.differentiate_own_chunks(
            do, q, k, v, o, lse, index, dk, dv, dweight, chunk_size, scale, documents=documents
        )
    blocks = triton.cdiv(chunks * chunk_size if routed else length, launch.keys)
    table = None
    if documents is not None:
        whole = chunk_size if routed else None
        table = block_table(documents, launch.keys, q.device, "early keys first", whole)
        blocks = len(table)
    _backward_kernel[(blocks * batch * groups,)](
        do, q, k, v, lse, delta, *(index[:3] if index is not None else (None,) * 3), table, dq_sum, dk, dv, dweight,
        scale, scale * LOG2_E, length, chunks, groups, group, first,
        *do.stride()[:3], *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        C=chunk_size if routed else 1, K=key_dim, V=value_dim,
        BK=padded(key_dim, q.dtype), BV=padded(value_dim, q.dtype),
        BM=launch.queries, BN=launch.keys, ROUTED=routed, ROUTE_GRADIENT=route_gradient,
        PRECISION=dot_precision(q.dtype), SHARE=heads // groups, PACKED=table is not None, LAST=first > 0,
        STAGES=launch.stages,
        num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    return dq_sum, dk, dv, delta, dweight


def output_products(do: Tensor, o: Tensor) -> Tensor:
    """Sum do * o over V: [B, H, T] float32, for do and o [B, T, H, V], o dense."""
    batch, length, heads, value_dim = o.shape
    delta = torch.empty(batch, heads, length, dtype=torch.float32, device=o.device)
    _delta_kernel[(triton.cdiv(length, DELTA_ROWS) * batch * heads,)](
        do, o, delta, length, heads, *do.stride()[:3],
        V=value_dim, BV=padded(value_dim, o.dtype), BM=DELTA_ROWS, num_warps=4,
    )  # fmt: skip
    return delta


@triton.jit(do_not_specialize=["T", "heads"])
def _delta_kernel(
    do_ptr, o_ptr, delta_ptr, T, heads, do_batch, do_token, do_head,
    V: tl.constexpr, BV: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Compute delta_i = do_i . o_i for BM tokens of one head."""
    blocks = tl.cdiv(T, BM)
    head_index = tl.program_id(0) // blocks
    start = tl.program_id(0) % blocks * BM
    batch, head = (head_index // heads).to(tl.int64), (head_index % heads).to(tl.int64)
    row = tl.arange(0, BM)
    present = start + row < T
    do_ptr += batch * do_batch + head * do_head + start.to(tl.int64) * do_token
    o_ptr += (batch * T + start) * heads * V + head * V
    do = load_rows(do_ptr, row, present, do_token, V, BV, V == BV, True).to(tl.float32)
    o = load_rows(o_ptr, row, present, heads * V, V, BV, V == BV, True).to(tl.float32)
    tl.store(delta_ptr + head_index.to(tl.int64) * T + start + row, tl.sum(do * o, 1), mask=present)


@triton.jit(do_not_specialize=["N", "heads", "group", "first_query"])
def _backward_kernel(
    do_ptr, q_ptr, k_ptr, v_ptr, lse_ptr, delta_ptr,
    order_ptr, before_ptr, bias_ptr, table_ptr, dq_ptr, dk_ptr, dv_ptr, dweight_ptr,
    scale, scale_2, T, N, heads, group, first_query,
    do_batch, do_token, do_head, q_batch, q_token, q_head,
    k_batch, k_token, k_head, v_batch, v_token, v_head,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ROUTED: tl.constexpr, ROUTE_GRADIENT: tl.constexpr, PRECISION: tl.constexpr,
    SHARE: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of one block of BN (active) keys of one head; blocks that most queries see start first.

    The queries are those of SHARE heads: ``heads``, ``group`` and strides of k and v count heads of keys.
    """
    tl.static_assert(BN % BM == 0)
    tokens, chunks = T, N
    query_heads = heads * SHARE
    if PACKED:  # from here on the document is the sequence
        head_index = tl.program_id(0) % heads
        origin, T, first_chunk, document, start = load_block(table_ptr, tl.program_id(0) // heads, BN)
        N = tl.cdiv(T, C)
        do_ptr, lse_ptr, delta_ptr = do_ptr + origin * do_token, lse_ptr + origin, delta_ptr + origin
        q_ptr, k_ptr, v_ptr = q_ptr + origin * q_token, k_ptr + origin * k_token, v_ptr + origin * v_token
        dq_ptr += origin * query_heads * K
        dk_ptr, dv_ptr = dk_ptr + origin * heads * K, dv_ptr + origin * heads * V
        if ROUTED:
            before_ptr += (first_chunk + document) * (heads // group)
            order_ptr += first_chunk * (heads // group)
            bias_ptr += first_chunk * (heads // group)
        if ROUTE_GRADIENT:
            dweight_ptr += first_chunk * C
    else:
        blocks = tl.cdiv(N * C, BN) if ROUTED else tl.cdiv(T, BN)
        all_heads = tl.num_programs(0) // blocks
        head_index = tl.program_id(0) % all_heads
        start = tl.program_id(0) // all_heads * BN
    if ROUTED:
        routing = (head_index // group).to(tl.int64)
        order_ptr += routing * N
        end = tl.load(before_ptr + routing * (N + 1) + N) * C
        if start >= end:
            return
    batch, head = (head_index // heads).to(tl.int64), (head_index % heads).to(tl.int64)
    do_ptr += batch * do_batch + head * SHARE * do_head
    q_ptr += batch * q_batch + head * SHARE * q_head
    lse_ptr += head_index.to(tl.int64) * SHARE * tokens
    delta_ptr += head_index.to(tl.int64) * SHARE * tokens
    dq_ptr += batch * tokens * query_heads * K + head * SHARE * K

    column = tl.arange(0, BN)
    if ROUTED:
        chunk = permuted_chunks(order_ptr, start + column, end, N, C)
        key = chunk * C + (start + column) % C
        bias = tl.load(bias_ptr + routing * N + (start + column) // C, mask=chunk < N, other=float("-inf"))
    else:
        key = start + column
        bias = tl.zeros([BN], tl.float32)
    present = key < T
    wide = key.to(tl.int64)
    k = load_rows(k_ptr + batch * k_batch + head * k_head, wide, present, k_token, K, BK, K == BK, True)
    v = load_rows(v_ptr + batch * v_batch + head * v_head, wide, present, v_token, V, BV, V == BV, True)
    dk = tl.zeros([BN, BK], tl.float32)
    dv = tl.zeros([BN, BV], tl.float32)
    dw = tl.zeros([BN], tl.float32)

    for _member in tl.range(0, SHARE, num_stages=1, disable_licm=True):  # the query heads of this head
        if ROUTED:
            # Own chunk: dq is complete; the queries are at the same positions, or up to the end of a longer chunk.
            none = tl.zeros([BN], tl.float32)
            own_end = tl.minimum(start + BN, end) if C <= BN else (start // C + 1) * C
            for position in tl.range(start, own_end, BM, num_stages=STAGES):
                place = position + tl.arange(0, BM)
                query_chunk = permuted_chunks(order_ptr, place, end, N, C)
                query = query_chunk * C + place % C
                visible = (chunk[:, None] == query_chunk[None, :]) & (key[:, None] <= query[None, :])
                dk, dv, _ = add_gradients(
                    dk, dv, dw, k, v, none, visible, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, query.to(tl.int64),
                    query < T, scale_2, query_heads, q_token, do_token, K, V, BK, BV, True, False, False, PRECISION,
                )  # fmt: skip
            # Later chunks: first those between this block's chunks, then all others.
            first = tl.load(order_ptr + start // C) + 1
            last = tl.load(order_ptr + tl.minimum(start + BN, end) // C - 1) + 1 if BN > C else first
            begin = first * C
            middle = begin
            if BN > C:
                middle = begin + tl.cdiv((last - first) * C, BM) * BM
                for position in tl.range(begin, tl.minimum(middle, T), BM, num_stages=STAGES):
                    query = position + tl.arange(0, BM)
                    visible = chunk[:, None] < query[None, :] // C
                    dk, dv, dw = add_gradients(
                        dk, dv, dw, k, v, bias, visible, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, query.to(tl.int64),
                        query < T, scale_2, query_heads, q_token, do_token,
                        K, V, BK, BV, True, True, ROUTE_GRADIENT, PRECISION,
                    )  # fmt: skip
        else:
            middle = start + BN
            for position in tl.range(start, tl.minimum(middle, T), BM, num_stages=STAGES):
                query = position + tl.arange(0, BM)
                visible = key[:, None] <= query[None, :]
                dk, dv, dw = add_gradients(
                    dk, dv, dw, k, v, bias, visible, q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, query.to(tl.int64),
                    query < T, scale_2, query_heads, q_token, do_token, K, V, BK, BV, True, True, False, PRECISION,
                )  # fmt: skip
        if LAST:
            middle = tl.maximum(middle, first_query)
        row = tl.arange(0, BM)
        for position in tl.range(middle, T, BM, num_stages=STAGES):
            token = tl.cast(position, tl.int64)
            dk, dv, dw = add_gradients(
                dk, dv, dw, k, v, bias, present, q_ptr + token * q_token, do_ptr + token * do_token, lse_ptr + token,
                delta_ptr + token, dq_ptr + token * query_heads * K, row, row < T - position,
                scale_2, query_heads, q_token, do_token, K, V, BK, BV, False, True, ROUTE_GRADIENT, PRECISION,
            )  # fmt: skip
        q_ptr, do_ptr, dq_ptr = q_ptr + q_head, do_ptr + do_head, dq_ptr + K
        lse_ptr, delta_ptr = lse_ptr + tokens, delta_ptr + tokens

    store_rows(dk_ptr + batch * tokens * heads * K + head * K, wide, present, heads * K, K, dk * scale, BK)
    store_rows(dv_ptr + batch * tokens * heads * V + head * V, wide, present, heads * V, V, dv, BV)
    if ROUTE_GRADIENT:  # from the log-weight to the weight: divide by the weight
        dw = tl.where(bias == float("-inf"), 0.0, dw * tl.exp2(-bias))
        tl.store(dweight_ptr + head_index.to(tl.int64) * chunks * C + key, dw, mask=chunk < N)


@triton.jit
def add_gradients(
    dk, dv, dw, k, v, bias, visible,
    q_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, query, present,
    scale, heads, q_token, do_token,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    MASKED: tl.constexpr, QUERY_GRADIENT: tl.constexpr, ROUTE_GRADIENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the contribution of BM queries, rows ``query`` of the pointers, to dk, dv, dw and, if wanted, to their dq.

    With MASKED only the pairs in ``visible`` [BN, BM] count. Absent queries have lse = inf, so their weights are zero.
    """
    q = load_rows(q_ptr, query, present, q_token, K, BK, K == BK, True)
    do = load_rows(do_ptr, query, present, do_token, V, BV, V == BV, True)
    lse = tl.load(lse_ptr + query, mask=present, other=float("inf"))
    delta = tl.load(delta_ptr + query, mask=present, other=0.0)
    p = weights(k, q, bias, lse, visible, scale, MASKED, PRECISION)
    dv = dot(p.to(do.dtype), do, dv, PRECISION)
    ds = score_gradients(p, v, do, delta, PRECISION)
    if ROUTE_GRADIENT:
        dw += tl.sum(ds, 1)
    ds = ds.to(q.dtype)
    dk = dot(ds, q, dk, PRECISION)
    if QUERY_GRADIENT:
        dq = dot(tl.trans(k), ds, None, PRECISION)
        dim = tl.arange(0, BK)[:, None]
        inside = present[None, :] if K == BK else present[None, :] & (dim < K)
        tl.atomic_add(dq_ptr + query[None, :] * (heads * K) + dim, dq, mask=inside, sem="relaxed")
    return dk, dv, dw
