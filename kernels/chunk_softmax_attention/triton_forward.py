"""Forward pass of softmax attention: a block of queries against its own chunks, then against active earlier chunks.

Scores are kept in base 2, and a weight w on exp(s) is log2(w) added to the score. Past keys need no mask: on the
permuted axis of `triton_index` the visible keys come first. The block's own chunks are loaded once for all its
queries, so a mask selects the pairs of query and key.

Exponentials are relative to a maximum of each query's scores. Where the dtype's range allows it (bfloat16) that is the
maximum over the query's own chunk. The sum is then at least 1, and no tile waits for its maximum or rescales earlier
sums. Only blocks whose sum exceeds `MAX_SUM` are computed again, with a running maximum.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention.triton_documents import Documents, block_table, load_block
from nas.kernels.chunk_softmax_attention.triton_index import RouteIndex
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

MAX_VALUE_WIDTH = 256
"""Columns of v that one program handles; a wider v is split, and each part recomputes the scores."""

MAX_SUM = tl.constexpr(2.0**64)
"""Largest sum of exponentials relative to the maximum over the own chunk: far below the largest bfloat16."""

TOGETHER = 16
"""Blocks that one program checks for those to compute again; usually there are none."""

SHORT = 8192
"""Tokens up to which routed sequences are read in blocks of 64 queries. Such a block fits on a multiprocessor beside a
program of the gated delta rule (`nas.kernels.hybrid_attention`). Blocks of 128 load each key half as often."""


def choose_launch(
    dtype: torch.dtype, key_dim: int, value_dim: int, routed: bool, length: int, device: torch.device
) -> Launch:
    """Return tile sizes for operands of ``dtype`` with these head dims."""
    width = padded(key_dim, dtype) + min(padded(value_dim, dtype), MAX_VALUE_WIDTH)
    if not has_large_shared_memory(device):
        return _small_launch(dtype, width)
    if dtype == torch.float32:
        return Launch(64, 32, 4, 2) if width <= 256 else Launch(64, 16, 4, 2)
    if width > 192:
        return Launch(128, 64, 8, 2)
    return Launch(64, 64, 4, 2) if routed and length <= SHORT else Launch(128, 64, 4, 3)


def _small_launch(dtype: torch.dtype, width: int) -> Launch:
    """Return tile sizes that fit in 99 KiB of shared memory, for rows of q or k and v of ``width`` together."""
    if dtype == torch.float32:
        return Launch(64, 16, 8, 2) if width <= 256 else Launch(32, 16, 8, 2 if width <= 384 else 1)
    return Launch(64, 64, 4, 2) if width <= 256 else Launch(64, 32, 8, 2 if width <= 384 else 1)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index: RouteIndex | None,
    chunk_size: int,
    scale: float,
    launch: Launch | None = None,
    documents: Documents | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Compute output and log-sum-exp; ``launch`` replaces the chosen tiles.

    Args:
        q: [B, T, H, K], k [B, T, G, K] and v [B, T, G, V], all of one dtype, the last dimension contiguous.
        index: the index of the route; None without a route.
        documents: packed documents of a batch of one, each attended to alone; None for none.
        first: queries before this token need no output. Whole blocks of them are not computed: their o is 0 and their
            lse infinite. 0 with documents.

    Returns:
        o [B, T, H, V] in the dtype of v and lse [B, H, T] float32: log2 of the denominator of o, the weighted sum of
        2 ** (log2(e) * scale * q . k).
    """
    batch, length, heads, key_dim = q.shape
    value_dim = v.shape[-1]
    o = v.new_empty(batch, length, heads, value_dim)
    lse = torch.empty(batch, heads, length, dtype=torch.float32, device=v.device)
    routed = index is not None
    chunks = index.order.shape[1] if index is not None else 0
    group = batch * heads // index.order.shape[0] if index is not None else 1
    longest = length if documents is None else int(documents.length.max())
    launch = launch or choose_launch(q.dtype, key_dim, value_dim, routed, longest, q.device)
    table = None if documents is None else block_table(documents, launch.queries, q.device, "late queries first")
    width = min(padded(value_dim, q.dtype), MAX_VALUE_WIDTH)
    splits = triton.cdiv(value_dim, width)
    skipped = first // launch.queries
    blocks = triton.cdiv(length, launch.queries) - skipped if table is None else len(table)
    if skipped:
        o[:, : skipped * launch.queries] = 0.0
        lse[..., : skipped * launch.queries] = torch.inf
    programs = blocks * splits * batch * heads
    overflowed = q.new_empty(programs, dtype=torch.int32) if q.dtype == torch.bfloat16 else None

    def launch_kernel(kernel: Any, count: int, **constants: int | bool) -> None:
        kernel[(count,)](
            q, k, v, o, lse, overflowed, *(index or (None,) * 4), table, programs, skipped,
            abs(scale) * LOG2_E, length, chunks, heads, group, *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
            C=chunk_size if routed else 1, K=key_dim, V=value_dim, BK=padded(key_dim, q.dtype), BV=width,
            BM=launch.queries, BN=launch.keys, ROUTED=routed, NEGATE=scale < 0, PRECISION=dot_precision(q.dtype),
            SHARE=heads // k.shape[2], PACKED=table is not None, LAST=skipped > 0, STAGES=launch.stages, **constants,
            num_warps=launch.warps, num_stages=launch.stages,
        )  # fmt: skip

    launch_kernel(_forward_kernel, programs, RUNNING=overflowed is None)
    if overflowed is not None:
        launch_kernel(_recompute_kernel, triton.cdiv(programs, TOGETHER), TOGETHER=TOGETHER)
    return o, lse


@triton.jit(do_not_specialize=["programs", "skipped", "N", "heads", "group"])
def _forward_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, overflowed_ptr,
    order_ptr, before_ptr, bias_ptr, log_weight_ptr, table_ptr, programs, skipped, scale, T, N, heads, group,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ROUTED: tl.constexpr, NEGATE: tl.constexpr, PRECISION: tl.constexpr,
    SHARE: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr, STAGES: tl.constexpr, RUNNING: tl.constexpr,
):  # fmt: skip
    """Compute one block of queries relative to the maximum over the own chunk, and record whether its sum overflows."""
    _attend(
        tl.program_id(0), q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, overflowed_ptr,
        order_ptr, before_ptr, bias_ptr, log_weight_ptr, table_ptr, programs, skipped, scale, T, N, heads, group,
        q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
        C, K, V, BK, BV, BM, BN, ROUTED, NEGATE, PRECISION, SHARE, PACKED, LAST, STAGES, RUNNING,
    )  # fmt: skip


@triton.jit(do_not_specialize=["programs", "skipped", "N", "heads", "group"])
def _recompute_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, overflowed_ptr,
    order_ptr, before_ptr, bias_ptr, log_weight_ptr, table_ptr, programs, skipped, scale, T, N, heads, group,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ROUTED: tl.constexpr, NEGATE: tl.constexpr, PRECISION: tl.constexpr,
    SHARE: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr, STAGES: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """Compute the overflowed ones of TOGETHER blocks again, with a running maximum."""
    first = tl.program_id(0) * TOGETHER
    several = first + tl.arange(0, TOGETHER)
    if tl.max(tl.load(overflowed_ptr + several, mask=several < programs, other=0)) == 0:
        return
    for program in tl.range(first, tl.minimum(first + TOGETHER, programs), num_stages=1):
        if tl.load(overflowed_ptr + program) != 0:
            _attend(
                program, q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, overflowed_ptr,
                order_ptr, before_ptr, bias_ptr, log_weight_ptr, table_ptr, programs, skipped,
                scale, T, N, heads, group,
                q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
                C, K, V, BK, BV, BM, BN, ROUTED, NEGATE, PRECISION, SHARE, PACKED, LAST, STAGES, True,
            )  # fmt: skip


@triton.jit
def _attend(
    program, q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, overflowed_ptr,
    order_ptr, before_ptr, bias_ptr, log_weight_ptr, table_ptr, programs, skipped, scale, T, N, heads, group,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ROUTED: tl.constexpr, NEGATE: tl.constexpr, PRECISION: tl.constexpr,
    SHARE: tl.constexpr, PACKED: tl.constexpr, LAST: tl.constexpr, STAGES: tl.constexpr, RUNNING: tl.constexpr,
):  # fmt: skip
    """Compute BM queries of one head and BV columns of v; the queries with most keys start first.

    SHARE heads of queries read one head of k and v. With RUNNING the maximum is updated with every tile. Without it,
    ``overflowed`` [programs] records whether the sum exceeds `MAX_SUM`.
    """
    tl.static_assert(BM % BN == 0)
    splits: tl.constexpr = (V + BV - 1) // BV
    tokens = T
    blocks = tl.cdiv(T, BM)
    split = program % splits
    if PACKED:  # from here on the document is the sequence
        head_index = program // splits % heads
        origin, T, first_chunk, document, start = load_block(table_ptr, program // (splits * heads), BM)
        q_ptr, k_ptr, v_ptr = q_ptr + origin * q_token, k_ptr + origin * k_token, v_ptr + origin * v_token
        o_ptr, lse_ptr = o_ptr + origin * heads * V, lse_ptr + origin
    else:
        all_heads = programs // (splits * (blocks - skipped)) if LAST else programs // (splits * blocks)
        head_index = program // splits % all_heads
        start = (blocks - 1 - program // (splits * all_heads)) * BM
    batch, head = (head_index // heads).to(tl.int64), (head_index % heads).to(tl.int64)
    q_ptr += batch * q_batch + head * q_head + start.to(tl.int64) * q_token
    k_ptr += batch * k_batch + head // SHARE * k_head
    v_ptr += batch * v_batch + head // SHARE * v_head + split * BV
    dim_v = V - split * BV

    row = tl.arange(0, BM)
    present = start + row < T
    q = load_rows(q_ptr, row, present, q_token, K, BK, K == BK, True)
    if NEGATE:
        q = -q
    own = start
    past = start
    if ROUTED:
        routing = (head_index // group).to(tl.int64)
        if PACKED:
            N = tl.cdiv(T, C)
            before_ptr += (first_chunk + document) * (heads // group)
            order_ptr += first_chunk * (heads // group)
            bias_ptr += first_chunk * (heads // group)
            log_weight_ptr += first_chunk * (heads // group)
        order_ptr += routing * N
        bias_ptr += routing * N
        log_weight_ptr += routing * N
        first = start // C
        own = first * C
        past = tl.load(before_ptr + routing * (N + 1) + first) * C
    top = tl.full([BM], LOWEST, tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, BV], tl.float32)
    acc, total, top = _attend_own(
        acc, total, top, q, k_ptr, v_ptr, log_weight_ptr, start, own, scale, T, k_token, v_token, dim_v,
        C, K, V, BK, BV, BM, BN, ROUTED, PRECISION,
    )  # fmt: skip
    if ROUTED:
        acc, total, top = _attend_active(
            acc, total, top, q, k_ptr, v_ptr, order_ptr, bias_ptr, past, scale, k_token, v_token, dim_v,
            C, K, V, BK, BV, BN, RUNNING, PRECISION, STAGES,
        )  # fmt: skip
    else:
        acc, total, top = _attend_all(
            acc, total, top, q, k_ptr, v_ptr, past, scale, k_token, v_token, dim_v,
            K, V, BK, BV, BN, RUNNING, PRECISION, STAGES,
        )  # fmt: skip
    if not RUNNING:
        tl.store(overflowed_ptr + program, tl.max(tl.where(total <= MAX_SUM, 0, 1)))  # NaN counts as overflow

    o_ptr += (batch * tokens + start) * heads * V + head * V + split * BV
    store_rows(o_ptr, row, present, heads * V, dim_v, acc / total[:, None], BV)
    if split == 0:
        lse_ptr += head_index.to(tl.int64) * tokens + start
        tl.store(lse_ptr + row, top + tl.log2(total), mask=present)


@triton.jit
def _attend_active(
    acc, total, top, q, k_ptr, v_ptr, order, bias_ptr, past, scale,
    k_token, v_token, dim_v,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BN: tl.constexpr,
    RUNNING: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Attend to the first ``past`` positions of the permuted key axis: active chunks before the block's first chunk."""
    column = tl.arange(0, BN)
    if BN <= C:  # a tile lies in one chunk; its index is read one step ahead
        chunk = tl.load(order)
        bias = tl.load(bias_ptr)
        for position in tl.range(0, past, BN, num_stages=STAGES):
            token = chunk.to(tl.int64) * C + position % C
            next_chunk = tl.load(order + (position + BN) // C)
            next_bias = tl.load(bias_ptr + (position + BN) // C)
            k = load_rows(k_ptr + token * k_token, column, column >= 0, k_token, K, BK, K == BK, False)
            v = load_rows(v_ptr + token * v_token, column, column >= 0, v_token, dim_v, BV, V % BV == 0, False)
            s = dot(q, tl.trans(k), None, PRECISION)
            if RUNNING:
                acc, total, top = raise_top(acc, total, top, tl.max(s, 1) * scale + bias)
            p = tl.exp2(s * scale - (top - bias)[:, None])
            acc, total = accumulate(acc, total, p, v, PRECISION)
            chunk, bias = next_chunk, next_bias
    else:
        for begin in tl.range(0, past, BN, num_stages=STAGES):
            position = begin + column
            visible = position < past
            chunk = tl.load(order + tl.minimum(position, past - 1) // C)
            bias = tl.load(bias_ptr + position // C, mask=visible, other=float("-inf"))
            token = chunk.to(tl.int64) * C + position % C
            k = load_rows(k_ptr, token, visible, k_token, K, BK, K == BK, False)
            v = load_rows(v_ptr, token, visible, v_token, dim_v, BV, V % BV == 0, False)
            s = dot(q, tl.trans(k), None, PRECISION) * scale + bias[None, :]
            if RUNNING:
                acc, total, top = raise_top(acc, total, top, tl.max(s, 1))
            acc, total = accumulate(acc, total, tl.exp2(s - top[:, None]), v, PRECISION)
    return acc, total, top


@triton.jit
def _attend_all(
    acc, total, top, q, k_ptr, v_ptr, past, scale,
    k_token, v_token, dim_v,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BN: tl.constexpr,
    RUNNING: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Attend to the first ``past`` tokens, a whole number of tiles."""
    column = tl.arange(0, BN)
    for begin in tl.range(0, past, BN, num_stages=STAGES):
        token = tl.cast(begin, tl.int64)
        k = load_rows(k_ptr + token * k_token, column, column >= 0, k_token, K, BK, K == BK, False)
        v = load_rows(v_ptr + token * v_token, column, column >= 0, v_token, dim_v, BV, V % BV == 0, False)
        s = dot(q, tl.trans(k), None, PRECISION)
        if RUNNING:
            acc, total, top = raise_top(acc, total, top, tl.max(s, 1) * scale)
        p = tl.exp2(s * scale - top[:, None])
        acc, total = accumulate(acc, total, p, v, PRECISION)
    return acc, total, top


@triton.jit
def _attend_own(
    acc, total, top, q, k_ptr, v_ptr, log_weight, start, own, scale,
    T, k_token, v_token, dim_v,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, ROUTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to the tokens from ``own`` to the block's end: causal in a chunk, weighted from chunk to later chunk."""
    row = start + tl.arange(0, BM)
    for begin in tl.range(own, tl.minimum(start + BM, T), BN, num_stages=1):
        column = tl.arange(0, BN)
        key, token = begin + column, tl.cast(begin, tl.int64)
        present = key < T
        k = load_rows(k_ptr + token * k_token, column, present, k_token, K, BK, K == BK, True)
        v = load_rows(v_ptr + token * v_token, column, present, v_token, dim_v, BV, V % BV == 0, True)
        s = dot(q, tl.trans(k), None, PRECISION) * scale
        visible = row[:, None] >= key[None, :]
        if ROUTED:
            weight = tl.load(log_weight + key // C, mask=present, other=float("-inf"))
            s = tl.where(row[:, None] // C == key[None, :] // C, s, s + weight[None, :])
        s = tl.where(visible, s, float("-inf"))
        acc, total, top = raise_top(acc, total, top, tl.max(s, 1))
        acc, total = accumulate(acc, total, tl.exp2(s - top[:, None]), v, PRECISION)
    return acc, total, top
