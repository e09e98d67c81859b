"""Backward pass within chunks: every token against its own chunk, whatever the route.

For skipped chunks this is the whole backward pass; active chunks need it too. So it runs first and writes delta, and
dq, to which `triton_backward` adds the active chunks' part. Neither needs a kernel of its own.
A program holds one block of tokens, as queries and as keys. Where a chunk has several blocks, a program visits the
earlier ones for its queries and the later ones for its keys: recomputing scores is faster than sums over programs. As
in `triton_backward`, all products are computed transposed, [keys, queries].
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention.triton_documents import Documents, block_table, load_block
from nas.kernels.chunk_softmax_attention.triton_index import RouteIndex
from nas.kernels.chunk_softmax_attention.triton_tiles import (
    LOG2_E,
    Launch,
    load_rows,
    padded,
    score_gradients,
    store_rows,
    weights,
)
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.triton_dot import dot
from nas.kernels.triton_support import dot_precision


def choose_launch(
    dtype: torch.dtype, key_dim: int, value_dim: int, chunk_size: int, share: int, device: torch.device
) -> Launch:
    """Return tile sizes for operands of ``dtype`` with these head dims; a program's queries are also its keys.

    Where a chunk is one block, memory limits the number of programs on a multiprocessor. A loop over the blocks of a
    chunk, or over the ``share`` query heads of a head of keys, needs more registers.
    """
    width = padded(key_dim, dtype) + padded(value_dim, dtype)
    if not has_large_shared_memory(device):
        return _small_launch(dtype, width)
    if dtype == torch.float32:
        return Launch(32, 32, 8, 1) if width <= 192 else Launch(16, 16, 8, 1)
    return Launch(64, 64, 4 if width <= (192 if chunk_size > 64 or share > 1 else 384) else 8, 1)


def _small_launch(dtype: torch.dtype, width: int) -> Launch:
    """Return tile sizes that fit in 99 KiB of shared memory, for rows of k and v of ``width`` together."""
    if dtype == torch.float32:
        return Launch(16, 16, 4 if width <= 192 else 8, 1)
    block = 64 if width <= 256 else 32 if width <= 384 else 16
    return Launch(block, block, 8, 1)


def differentiate_own_chunks(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    index: RouteIndex,
    dk: Tensor,
    dv: Tensor,
    dweight: Tensor | None,
    chunk_size: int,
    scale: float,
    launch: Launch | None = None,
    documents: Documents | None = None,
) -> tuple[Tensor, Tensor]:
    """Write dk and dv of the skipped chunks, which are then complete, and zero to all of ``dweight``.

    Args:
        do, q, k, v, o, lse, index, documents: as in the backward pass.
        dk, dv: like k and v, dense; the rows of active chunks stay unchanged.
        dweight: [B * G, N * chunk_size] float32; None without a gradient of the route.
        launch: tile sizes; None for the chosen ones.

    Returns:
        The part of dq / scale from own chunks, [B, T, H, K] float32, and delta [B, H, T] float32, the sums of do * o.
    """
    batch, length, heads, key_dim = q.shape
    value_dim, chunks = v.shape[-1], index.order.shape[1]
    dq_sum = torch.empty(q.shape, dtype=torch.float32, device=q.device)
    delta = torch.empty_like(lse)
    share = heads // k.shape[2]
    launch = launch or choose_launch(q.dtype, key_dim, value_dim, chunk_size, share, q.device)
    blocks, table = triton.cdiv(chunks * chunk_size, launch.keys), None
    if documents is not None:
        table = block_table(documents, launch.keys, q.device, chunk_size=chunk_size)
        blocks = len(table)
    _own_chunk_kernel[(blocks * batch * heads,)](
        do, q, k, v, o, lse, index.log_weight, table, delta, dq_sum, dk, dv, dweight,
        scale, scale * LOG2_E, length, chunks, heads, batch * heads // index.order.shape[0],
        *do.stride()[:3], *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        C=chunk_size, K=key_dim, V=value_dim, BK=padded(key_dim, q.dtype), BV=padded(value_dim, q.dtype),
        BLOCK=launch.keys, ROUTE_GRADIENT=dweight is not None, PRECISION=dot_precision(q.dtype),
        SHARE=share, PACKED=table is not None,
        STAGES=launch.stages, num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    return dq_sum, delta


@triton.jit(do_not_specialize=["N", "heads", "group"])
def _own_chunk_kernel(
    do_ptr, q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, log_weight_ptr, table_ptr,
    delta_ptr, dq_ptr, dk_ptr, dv_ptr, dweight_ptr,
    scale, scale_2, T, N, heads, group,
    do_batch, do_token, do_head, q_batch, q_token, q_head,
    k_batch, k_token, k_head, v_batch, v_token, v_head,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BLOCK: tl.constexpr, ROUTE_GRADIENT: tl.constexpr, PRECISION: tl.constexpr,
    SHARE: tl.constexpr, PACKED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Process one block of tokens of one query head, part of a chunk or whole chunks; heads are neighbours.

    The first of the SHARE query heads that read one head of keys computes dk and dv for all of them.
    """
    tokens, chunks = T, N
    key_heads = heads // SHARE
    head = (tl.program_id(0) % heads).to(tl.int64)
    if PACKED:  # from here on the document is the sequence
        origin, T, first_chunk, _, start = load_block(table_ptr, tl.program_id(0) // heads, BLOCK)
        N = tl.cdiv(T, C)
        batch = tl.full((), 0, tl.int64)
        q_ptr, k_ptr, v_ptr = q_ptr + origin * q_token, k_ptr + origin * k_token, v_ptr + origin * v_token
        do_ptr, o_ptr, lse_ptr = do_ptr + origin * do_token, o_ptr + origin * heads * V, lse_ptr + origin
        delta_ptr, dq_ptr = delta_ptr + origin, dq_ptr + origin * heads * K
        dk_ptr, dv_ptr = dk_ptr + origin * key_heads * K, dv_ptr + origin * key_heads * V
        log_weight_ptr += first_chunk * (heads // group)
        if ROUTE_GRADIENT:
            dweight_ptr += first_chunk * C
    else:
        blocks = tl.cdiv(N * C, BLOCK)
        start = tl.program_id(0) // heads % blocks * BLOCK
        batch = (tl.program_id(0) // heads // blocks).to(tl.int64)
    head_index = batch * heads + head
    row = tl.arange(0, BLOCK)
    token = start + row
    if ROUTE_GRADIENT:
        zero = tl.zeros([BLOCK], tl.float32)
        tl.store(dweight_ptr + head_index // SHARE * chunks * C + token, zero, mask=token < N * C)
    if start >= T:
        return
    do_ptr += batch * do_batch + head * do_head
    q_ptr += batch * q_batch + head * q_head
    k_ptr += batch * k_batch + head // SHARE * k_head
    v_ptr += batch * v_batch + head // SHARE * v_head
    o_ptr += batch * tokens * heads * V + head * V
    lse_ptr += head_index * tokens
    log_weight_ptr += head_index // group * N

    present = token < T
    none = tl.zeros([BLOCK], tl.float32)
    if C <= BLOCK:  # before delta: its sum over threads would delay these loads
        k, v = _load_keys(k_ptr, v_ptr, start, T, k_token, v_token, K, V, BK, BV, BLOCK)
    q, do, lse, delta = _load_queries(
        q_ptr, do_ptr, o_ptr, lse_ptr, start, T, heads, q_token, do_token, K, V, BK, BV, BLOCK
    )
    tl.store(delta_ptr + head_index * tokens + token, delta, mask=present)
    if C <= BLOCK:
        visible = (row[:, None] // C == row[None, :] // C) & (row[:, None] <= row[None, :])
        p = weights(k, q, none, lse, visible, scale_2, True, PRECISION)
        ds = score_gradients(p, v, do, delta, PRECISION).to(q.dtype)
        dq = dot(tl.trans(k), ds, None, PRECISION)
    else:
        dq = tl.zeros([BK, BLOCK], tl.float32)
        for position in tl.range(start // C * C, start + BLOCK, BLOCK, num_stages=STAGES):
            k, v = _load_keys(k_ptr, v_ptr, position, T, k_token, v_token, K, V, BK, BV, BLOCK)
            visible = position + row[:, None] <= token[None, :]
            p = weights(k, q, none, lse, visible, scale_2, True, PRECISION)
            ds = score_gradients(p, v, do, delta, PRECISION).to(q.dtype)
            dq = dot(tl.trans(k), ds, dq, PRECISION)
    dq_ptr += (batch * tokens + start) * heads * K + head * K
    store_rows(dq_ptr, row, present, heads * K, K, tl.trans(dq), BK)

    # `triton_backward` computes all of dk and dv of active chunks: it would have to read this part of them rounded.
    if SHARE > 1 and head % SHARE != 0:
        return
    if C < BLOCK:
        skipped = tl.load(log_weight_ptr + token // C, mask=present, other=0.0) == float("-inf")
    else:
        if tl.load(log_weight_ptr + start // C) != float("-inf"):
            return
        skipped = present
    if C <= BLOCK and SHARE == 1:
        dk = dot(ds, q, None, PRECISION)
        dv = dot(p.to(do.dtype), do, None, PRECISION)
    else:
        k, v = _load_keys(k_ptr, v_ptr, start, T, k_token, v_token, K, V, BK, BV, BLOCK)
        dk = tl.zeros([BLOCK, BK], tl.float32)
        dv = tl.zeros([BLOCK, BV], tl.float32)
        end = tl.minimum(start + BLOCK if C <= BLOCK else (start // C + 1) * C, T)
        for _member in tl.range(0, SHARE, num_stages=1):
            for position in tl.range(start, end, BLOCK, num_stages=STAGES):
                q, do, lse, delta = _load_queries(
                    q_ptr, do_ptr, o_ptr, lse_ptr, position, T, heads, q_token, do_token, K, V, BK, BV, BLOCK
                )
                visible = token[:, None] <= position + row[None, :]
                if C < BLOCK:
                    visible &= token[:, None] // C == (position + row[None, :]) // C
                p = weights(k, q, none, lse, visible, scale_2, True, PRECISION)
                dv = dot(p.to(do.dtype), do, dv, PRECISION)
                ds = score_gradients(p, v, do, delta, PRECISION).to(q.dtype)
                dk = dot(ds, q, dk, PRECISION)
            q_ptr, do_ptr, o_ptr, lse_ptr = q_ptr + q_head, do_ptr + do_head, o_ptr + V, lse_ptr + tokens
    dk_ptr += (batch * tokens + start) * key_heads * K + head // SHARE * K
    dv_ptr += (batch * tokens + start) * key_heads * V + head // SHARE * V
    store_rows(dk_ptr, row, skipped, key_heads * K, K, dk * scale, BK)
    store_rows(dv_ptr, row, skipped, key_heads * V, V, dv, BV)


@triton.jit
def _load_keys(
    k_ptr, v_ptr, start, T, k_token, v_token,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Load k and v of the tokens from ``start`` on."""
    row, token = tl.arange(0, BLOCK), tl.cast(start, tl.int64)
    present = start + row < T
    k = load_rows(k_ptr + token * k_token, row, present, k_token, K, BK, K == BK, True)
    v = load_rows(v_ptr + token * v_token, row, present, v_token, V, BV, V == BV, True)
    return k, v


@triton.jit
def _load_queries(
    q_ptr, do_ptr, o_ptr, lse_ptr, start, T, heads, q_token, do_token,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Load q, do, lse and delta = sum(do * o) of tokens from ``start`` on; absent tokens have lse = inf: no weight."""
    row, token = tl.arange(0, BLOCK), tl.cast(start, tl.int64)
    present = start + row < T
    do = load_rows(do_ptr + token * do_token, row, present, do_token, V, BV, V == BV, True)
    o = load_rows(o_ptr + token * heads * V, row, present, heads * V, V, BV, V == BV, True)
    q = load_rows(q_ptr + token * q_token, row, present, q_token, K, BK, K == BK, True)
    lse = tl.load(lse_ptr + token + row, mask=present, other=float("inf"))
    return q, do, lse, tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
