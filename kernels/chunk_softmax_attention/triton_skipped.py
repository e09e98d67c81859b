"""The gradient of the route for skipped chunks, from the later queries that do not see them.

It runs only with ``route_grad="full"``. No other kernel pairs skipped keys with later queries.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention.triton_documents import Documents, block_table, load_block
from nas.kernels.chunk_softmax_attention.triton_index import RouteIndex
from nas.kernels.chunk_softmax_attention.triton_tiles import LOG2_E, Launch, load_rows, padded, permuted_chunks
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.triton_dot import dot
from nas.kernels.triton_support import dot_precision

HIGHEST = tl.constexpr(64.0)
"""Largest log2 of exp(s - lse): without this bound a skipped chunk's exponential could become inf."""


def choose_launch(dtype: torch.dtype, key_dim: int, value_dim: int, device: torch.device) -> Launch:
    """Return tile sizes for operands of ``dtype`` with these head dims."""
    width = padded(key_dim, dtype) + padded(value_dim, dtype)
    if not has_large_shared_memory(device):
        return _small_launch(dtype, width)
    if dtype == torch.float32:
        return Launch(32, 64, 8, 1) if width <= 256 else Launch(16, 32, 8, 1)
    if width <= 192:
        return Launch(64, 128, 8, 2, registers=128)  # two programs on a multiprocessor, with 97 KiB each
    return Launch(64, 128, 8, 2) if width <= 256 else Launch(64, 64, 8, 1)


def _small_launch(dtype: torch.dtype, width: int) -> Launch:
    """Return tile sizes that fit in 99 KiB of shared memory, for rows of k and v of ``width`` together."""
    if dtype == torch.float32:
        return Launch(32, 32, 8, 1) if width <= 192 else Launch(16, 16, 8, 1)
    if width <= 256:
        return Launch(64, 64, 8, 2)
    return Launch(32, 64, 8, 1) if width <= 384 else Launch(16, 32, 8, 1)


def add_skipped(
    dweight: Tensor,
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lse: Tensor,
    delta: Tensor,
    index: RouteIndex,
    chunk_size: int,
    scale: float,
    launch: Launch | None = None,
    documents: Documents | None = None,
    first: int = 0,
) -> None:
    """Write the skipped chunks' part of ``dweight`` (see `triton_backward.backward`) in place.

    Args:
        dweight: [B * G, N * chunk_size] float32.
        do, q, k, v, lse, delta, index, documents, first: as in the backward pass.
    """
    batch, length, heads, key_dim = q.shape
    groups, value_dim = v.shape[2:]
    chunks = index.order.shape[1]
    launch = launch or choose_launch(q.dtype, key_dim, value_dim, q.device)
    blocks, table = triton.cdiv(chunks * chunk_size, launch.keys), None
    if documents is not None:
        table = block_table(documents, launch.keys, q.device, chunk_size=chunk_size)
        blocks = len(table)
    _skipped_kernel[(blocks * batch * groups,)](
        do, q, k, v, lse, delta, index.order, index.before, table, dweight,
        scale * LOG2_E, length, chunks, groups, batch * groups // index.order.shape[0], first,
        *do.stride()[:3], *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        C=chunk_size, K=key_dim, V=value_dim, BK=padded(key_dim, q.dtype), BV=padded(value_dim, q.dtype),
        BM=launch.queries, BN=launch.keys, PRECISION=dot_precision(q.dtype),
        SHARE=heads // groups, PACKED=table is not None, LAST=first > 0,
        STAGES=launch.stages, num_warps=launch.warps, num_stages=launch.stages, maxnreg=launch.registers,
    )  # fmt: skip


@triton.jit(do_not_specialize=["N", "heads", "group", "first_query"])
def _skipped_kernel(
    do_ptr, q_ptr, k_ptr, v_ptr, lse_ptr, delta_ptr,
    order_ptr, before_ptr, table_ptr, dweight_ptr, scale, T, N, heads, group, first_query,
    do_batch, do_token, do_head, q_batch, q_token, q_head,
    k_batch, k_token, k_head, v_batch, v_token, v_head,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
    SHARE: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Process one block of BN keys of one head's skipped chunks, which the queries of SHARE heads would read.

    Programs beyond the last block do nothing.
    """
    tokens, chunks = T, N
    if PACKED:  # from here on the document is the sequence
        head_index = tl.program_id(0) % heads
        origin, T, first_chunk, document, begin = load_block(table_ptr, tl.program_id(0) // heads, BN)
        N = tl.cdiv(T, C)
        q_ptr, k_ptr, v_ptr = q_ptr + origin * q_token, k_ptr + origin * k_token, v_ptr + origin * v_token
        do_ptr, lse_ptr, delta_ptr = do_ptr + origin * do_token, lse_ptr + origin, delta_ptr + origin
        before_ptr += (first_chunk + document) * (heads // group)
        order_ptr += first_chunk * (heads // group)
        dweight_ptr += first_chunk * C
    else:
        blocks = tl.cdiv(N * C, BN)
        all_heads = tl.num_programs(0) // blocks
        head_index = tl.program_id(0) % all_heads
    routing = (head_index // group).to(tl.int64)
    start = tl.load(before_ptr + routing * (N + 1) + N) * C
    start += begin if PACKED else tl.program_id(0) // all_heads * BN
    if start >= N * C:
        return
    batch, head = (head_index // heads).to(tl.int64), (head_index % heads).to(tl.int64)
    do_ptr += batch * do_batch + head * SHARE * do_head
    q_ptr += batch * q_batch + head * SHARE * q_head
    lse_ptr += head_index.to(tl.int64) * SHARE * tokens
    delta_ptr += head_index.to(tl.int64) * SHARE * tokens
    order_ptr += routing * N

    position = start + tl.arange(0, BN)
    chunk = permuted_chunks(order_ptr, position, N * C, N, C)
    key = chunk * C + position % C
    k_ptr += batch * k_batch + head * k_head
    v_ptr += batch * v_batch + head * v_head
    k = load_rows(k_ptr, key.to(tl.int64), key < T, k_token, K, BK, K == BK, True)
    v = load_rows(v_ptr, key.to(tl.int64), key < T, v_token, V, BV, V == BV, True)
    dw = tl.zeros([BN], tl.float32)
    first = tl.load(order_ptr + start // C) + 1
    last = tl.load(order_ptr + tl.minimum((start + BN - 1) // C, N - 1)) + 1
    begin = first * C
    middle = begin
    if BN > C:
        middle = begin + tl.cdiv((last - first) * C, BM) * BM
    for _member in tl.range(0, SHARE, num_stages=1):  # the query heads of this head
        if BN > C:
            for query in tl.range(begin, tl.minimum(middle, T), BM, num_stages=1):
                dw = _add_gradients(
                    dw, k, v, chunk, q_ptr, do_ptr, lse_ptr, delta_ptr, query, scale, T, q_token, do_token,
                    C, K, V, BK, BV, BM, True, PRECISION,
                )  # fmt: skip
        rest = tl.maximum(middle, first_query) if LAST else middle
        for query in tl.range(rest, T, BM, num_stages=STAGES):
            dw = _add_gradients(
                dw, k, v, chunk, q_ptr, do_ptr, lse_ptr, delta_ptr, query, scale, T, q_token, do_token,
                C, K, V, BK, BV, BM, False, PRECISION,
            )  # fmt: skip
        q_ptr, do_ptr, lse_ptr, delta_ptr = q_ptr + q_head, do_ptr + do_head, lse_ptr + tokens, delta_ptr + tokens
    dw = tl.where(key < T, dw, 0.0)
    tl.store(dweight_ptr + head_index.to(tl.int64) * chunks * C + key, dw, mask=chunk < N)


@triton.jit
def _add_gradients(
    dw, k, v, chunk, q_ptr, do_ptr, lse_ptr, delta_ptr, begin,
    scale, T, q_token, do_token,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BM: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the contribution of BM queries from ``begin`` on to dw; with MASKED only for keys of earlier chunks."""
    row, token = tl.arange(0, BM), tl.cast(begin, tl.int64)
    present = row < T - begin
    q = load_rows(q_ptr + token * q_token, row, present, q_token, K, BK, K == BK, True)
    do = load_rows(do_ptr + token * do_token, row, present, do_token, V, BV, V == BV, True)
    lse = tl.load(lse_ptr + token + row, mask=present, other=float("inf"))
    delta = tl.load(delta_ptr + token + row, mask=present, other=0.0)
    s = dot(k, tl.trans(q), None, PRECISION) * scale - lse[None, :]
    if MASKED:
        s = tl.where(chunk[:, None] < (begin + row)[None, :] // C, s, float("-inf"))
    e = tl.exp2(tl.minimum(s, HIGHEST))
    return dw + tl.sum(e * (dot(v, tl.trans(do), None, PRECISION) - delta[None, :]), 1)
