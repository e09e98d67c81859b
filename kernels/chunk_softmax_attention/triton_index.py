"""The order in which kernels visit chunks: the active ones (route > 0) first, then the skipped ones.

The permuted key axis of a routing head is its chunks in that order: position p is token
``order[p // chunk_size] * chunk_size + p % chunk_size``. Its first ``before[n] * chunk_size`` positions are the keys
of earlier chunks that chunk n sees, so a loop over them visits no skipped chunk. The index is computed and read on the
device: no size depends on the values of the route, and a captured graph may be replayed with another route.

Packed documents each have an index of their own, with chunks counted from the document's start. They follow each other
in memory: an entry for R rows and n chunks of a document is [R, n], or [R, n + 1] for ``before``.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention.triton_documents import Documents, chunk_table

SMALLEST = tl.constexpr(2.0**-126)
"""Smallest route that does not count as 0: the smallest normal number of float32, whose reciprocal is finite."""
BLOCK = 1024
"""Chunks that the index kernel processes together."""


class RouteIndex(NamedTuple):
    """Order of the chunks and their log-weights, for each of the B * R routing heads."""

    order: Tensor
    """[B * R, N] int32: active chunks in increasing order, then skipped chunks in increasing order."""
    before: Tensor
    """[B * R, N + 1] int32: number of active chunks with a smaller index; the last entry counts all."""
    bias: Tensor
    """[B * R, N] float32: log2(route) in that order, -inf for skipped chunks."""
    log_weight: Tensor
    """[B * R, N] float32: log2(route) in temporal order."""


def build(route: Tensor, documents: Documents | None = None) -> RouteIndex:
    """Return the index of a route [B, N, R]; with documents, B is 1, and each of them has its own index."""
    batch, chunks, routing_heads = route.shape
    rows = batch * routing_heads
    order = torch.empty(rows, chunks, dtype=torch.int32, device=route.device)
    sequences = 1 if documents is None else len(documents.chunks)
    before = torch.empty(rows, chunks + sequences, dtype=torch.int32, device=route.device)
    bias = torch.empty(rows, chunks, dtype=torch.float32, device=route.device)
    log_weight = torch.empty_like(bias)
    longest = chunks if documents is None else int(documents.chunks.max())
    _index_kernel[(rows * sequences,)](
        route, order, before, bias, log_weight,
        None if documents is None else chunk_table(documents, route.device), chunks, routing_heads, *route.stride(),
        PACKED=documents is not None, BLOCK=min(BLOCK, max(16, triton.next_power_of_2(longest))), num_warps=4,
    )  # fmt: skip
    return RouteIndex(order, before, bias, log_weight)


@triton.jit(do_not_specialize=["N", "R"])
def _index_kernel(
    route_ptr,
    order_ptr,
    before_ptr,
    bias_ptr,
    log_weight_ptr,
    table_ptr,
    N,
    R,
    stride_b,
    stride_n,
    stride_r,
    PACKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Index one routing head (of a document): count its active chunks, then compute the position of every chunk."""
    row = tl.program_id(0).to(tl.int64)
    if PACKED:
        document = row // R
        row = row % R
        first = tl.load(table_ptr + 2 * document).to(tl.int64)
        N = tl.load(table_ptr + 2 * document + 1)
        route_ptr += first * stride_n
        order_ptr, bias_ptr, log_weight_ptr = order_ptr + first * R, bias_ptr + first * R, log_weight_ptr + first * R
        before_ptr += (first + document) * R
    route = route_ptr + row // R * stride_b + row % R * stride_r
    count = tl.full((), 0, tl.int32)
    for start in range(0, N, BLOCK):
        chunk = start + tl.arange(0, BLOCK)
        weight = tl.load(route + chunk.to(tl.int64) * stride_n, mask=chunk < N, other=0.0).to(tl.float32)
        count += tl.sum((weight >= SMALLEST).to(tl.int32))
    seen = tl.full((), 0, tl.int32)
    for start in range(0, N, BLOCK):
        chunk = start + tl.arange(0, BLOCK)
        present = chunk < N
        weight = tl.load(route + chunk.to(tl.int64) * stride_n, mask=present, other=0.0).to(tl.float32)
        active = (weight >= SMALLEST).to(tl.int32)
        log_weight = tl.where(active == 1, tl.log2(weight), float("-inf"))
        before = seen + tl.cumsum(active) - active
        slot = tl.where(active == 1, before, count + chunk - before)
        tl.store(order_ptr + row * N + slot, chunk, mask=present)
        tl.store(bias_ptr + row * N + slot, log_weight, mask=present)
        tl.store(log_weight_ptr + row * N + chunk, log_weight, mask=present)
        tl.store(before_ptr + row * (N + 1) + chunk, before, mask=present)
        seen += tl.sum(active)
    tl.store(before_ptr + row * (N + 1) + N, count)
