"""The order in which kernels visit chunks: the active ones (route > 0) first, then the skipped ones.

The permuted key axis of a routing head is its chunks in that order: position p is token
``order[p // chunk_size] * chunk_size + p % chunk_size``. Its first ``before[n] * chunk_size`` positions are the keys
of earlier chunks that chunk n sees, so a loop over them visits no skipped chunk. The index is computed and read on the
device: no size depends on the values of the route, and a captured graph may be replayed with another route.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

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


def build(route: Tensor) -> RouteIndex:
    """Return the index of a route [B, N, R]."""
    batch, chunks, routing_heads = route.shape
    rows = batch * routing_heads
    order = torch.empty(rows, chunks, dtype=torch.int32, device=route.device)
    before = torch.empty(rows, chunks + 1, dtype=torch.int32, device=route.device)
    bias = torch.empty(rows, chunks, dtype=torch.float32, device=route.device)
    log_weight = torch.empty_like(bias)
    block = min(BLOCK, max(16, triton.next_power_of_2(chunks)))
    _index_kernel[(rows,)](
        route, order, before, bias, log_weight, chunks, routing_heads, *route.stride(), BLOCK=block, num_warps=4
    )
    return RouteIndex(order, before, bias, log_weight)


@triton.jit(do_not_specialize=["N", "R"])
def _index_kernel(
    route_ptr,
    order_ptr,
    before_ptr,
    bias_ptr,
    log_weight_ptr,
    N,
    R,
    stride_b,
    stride_n,
    stride_r,
    BLOCK: tl.constexpr,
):
    """Index one routing head: count its active chunks, then compute the position of every chunk."""
    row = tl.program_id(0).to(tl.int64)
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
