"""A KV cache whose pages are chunks, so that skipped chunks take no memory.

A page holds one chunk's keys and values for the heads of one routing head of one sequence. When a chunk ends with
route 0, its page is reused for the next chunk. Otherwise the page is appended to the list of that routing head, and an
empty page is taken from the shared pool. So the pages in use are the kept chunks plus one running chunk per sequence
and routing head.

`nas.kernels.chunk_softmax_attention.kv_growth` ends chunks and makes the pool larger.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import (
    MAX_SIZE,
    check_dtype,
    check_prefix,
    check_route,
    check_sizes,
    check_type,
    compute_dtype,
    num_chunks,
)

GROWTH = 1.5
"""Factor by which a pool or a list grows: fewer copies against fewer empty pages."""
LISTED = 16
"""Kept chunks for which a list has room at first."""


class KVCache(NamedTuple):
    """State of decoding between tokens: G = H / R heads of k and v share a page, C tokens are a chunk.

    Steps and `close_chunk` update the tensors in place, so that a captured CUDA graph can be replayed.
    Always continue with the returned cache: growing replaces tensors, and the cache holds the host's bounds.
    """

    keys: Tensor
    """[P, G, C, K] pool of pages."""
    values: Tensor
    """[P, G, C, V] pool of pages."""
    table: Tensor
    """[B, R, N_max] int32 pages of the kept chunks, oldest first."""
    weight: Tensor
    """[B, R, N_max] their routes, float32 (float64 for a float64 pool)."""
    kept: Tensor
    """[B, R] int32 number of kept chunks."""
    open_page: Tensor
    """[B, R] int32 page of the running chunk."""
    fill: Tensor
    """[B] int32 tokens in the running chunk; C + 1 if another token arrived when it was full and was not written."""
    free: Tensor
    """[P] int32 stack of the free pages."""
    free_count: Tensor
    """[1] int32 number of pages in ``free``."""
    spare_pages: int
    """Lower bound of the free pages, known to the host without reading from the GPU."""
    spare_chunks: int
    """Lower bound of the unused entries of every list, known to the host in the same way."""

    @property
    def chunk_size(self) -> int:
        """Return C, the tokens in a chunk."""
        return self.keys.shape[2]


def empty_cache(
    batch: int,
    heads: int,
    routing_heads: int,
    key_dim: int,
    value_dim: int,
    *,
    chunk_size: int = 64,
    pages: int | None = None,
    max_chunks: int = LISTED,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> KVCache:
    """Allocate the cache before the first token.

    Args:
        batch, heads, routing_heads, key_dim, value_dim: B, H (heads of k and v), R (a divisor of H), K, V.
        chunk_size: tokens in a chunk.
        pages: size of the pool, at least B * R; twice that by default. `close_chunk` makes it larger.
        max_chunks: kept chunks that a list can hold; `close_chunk` makes it larger.
        dtype, device: of the pool. Keys and values are rounded to this dtype.
    """
    sizes = {"batch": batch, "heads": heads, "routing_heads": routing_heads, "key_dim": key_dim, "value_dim": value_dim}
    check_sizes(MAX_SIZE, **sizes, chunk_size=chunk_size, max_chunks=max_chunks)
    check_dtype(dtype)
    if heads % routing_heads:
        raise ValueError(f"routing_heads={routing_heads} is not allowed; it must divide heads={heads}.")
    lists, group = (batch, routing_heads), heads // routing_heads
    running = math.prod(lists)
    pages = 2 * running if pages is None else pages
    check_sizes(MAX_SIZE, pages=pages)
    if pages < running:
        raise ValueError(f"pages={pages} is too few; it must be at least batch * routing_heads = {running}.")
    ascending = torch.arange(pages, dtype=torch.int32, device=device)
    return KVCache(
        keys=torch.empty(pages, group, chunk_size, key_dim, dtype=dtype, device=device),
        values=torch.empty(pages, group, chunk_size, value_dim, dtype=dtype, device=device),
        table=ascending.new_zeros(*lists, max_chunks),
        weight=torch.zeros(*lists, max_chunks, dtype=compute_dtype(dtype), device=device),
        kept=ascending.new_zeros(lists),
        open_page=ascending[:running].view(lists).clone(),
        fill=ascending.new_zeros(batch),
        free=ascending.flip(0),
        free_count=ascending.new_full((1,), pages - running),
        spare_pages=pages - running,
        spare_chunks=max_chunks,
    )


@torch.no_grad()
def cache_of_prefill(
    k: Tensor,
    v: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    pages: int | None = None,
    max_chunks: int | None = None,
    dtype: torch.dtype | None = None,
) -> KVCache:
    """Return the cache after a whole prefix, without the skipped chunks. Waits for the GPU.

    Args:
        k, v: [B, T, H, K] and [B, T, H, V], the inputs of `chunk_softmax_attention`.
        route: [B, N, R] in [0, 1], N = ceil(T / chunk_size); None means ones, with R = 1. A last chunk that is not
            full stays open, and its route is not used.
        pages, max_chunks: as for `empty_cache`; by default 1.5 times what the prefix needs.
        dtype: dtype of the pool; that of k by default.
    """
    check_prefix(k, v, route)
    check_sizes(MAX_SIZE, chunk_size=chunk_size)
    batch, length, heads, key_dim = k.shape
    closed, filled = divmod(length, chunk_size)
    dtype = k.dtype if dtype is None else dtype
    check_dtype(dtype)
    if route is None:
        route = k.new_ones(batch, num_chunks(length, chunk_size), 1)
    check_route(route, batch=batch, chunks=num_chunks(length, chunk_size), heads=heads, owner="k")
    routing_heads = route.shape[2]
    weight = route[:, :closed].transpose(1, 2).to(compute_dtype(dtype))  # [B, R, closed]
    keep = weight > 0
    running = batch * routing_heads
    used, longest = running + int(keep.sum()), int(keep.sum(-1).max())
    for name, given, least in (("pages", pages, used), ("max_chunks", max_chunks, longest)):
        if given is None:
            continue
        check_sizes(MAX_SIZE, **{name: given})
        if given < least:
            raise ValueError(f"{name}={given} is too few; this prefix needs at least {least}.")
    pages = max(larger(used), used + running) if pages is None else pages
    max_chunks = max(larger(longest), LISTED) if max_chunks is None else max_chunks
    cache = empty_cache(
        *(batch, heads, routing_heads, key_dim, v.shape[-1]),
        chunk_size=chunk_size,
        pages=pages,
        max_chunks=max_chunks,
        dtype=dtype,
        device=k.device,
    )
    b, r, n = keep.nonzero(as_tuple=True)
    entry = keep.cumsum(-1)[b, r, n] - 1
    page = torch.arange(running, used, device=k.device)
    cache.table[b, r, entry] = page.to(torch.int32)
    cache.weight[b, r, entry] = weight[b, r, n]
    cache.kept.copy_(keep.sum(-1))
    cache.fill.fill_(filled)
    cache.free_count.fill_(pages - used)
    for pool, x in ((cache.keys, k), (cache.values, v)):
        x = x.unflatten(2, (routing_heads, -1)).permute(0, 2, 1, 3, 4)  # [B, R, T, G, K or V]
        whole, rest = x.split([closed * chunk_size, filled], dim=2)
        pool[page] = whole.unflatten(2, (closed, chunk_size))[b, r, n].transpose(1, 2).to(dtype)
        pool[:running, :, :filled] = rest.flatten(0, 1).transpose(1, 2).to(dtype)
    return cache._replace(spare_pages=pages - used, spare_chunks=max_chunks - longest)


@torch.no_grad()
def join_caches(caches: Sequence[KVCache]) -> KVCache:
    """Return one cache with the sequences of several caches, which may differ in length. Waits for the GPU.

    Args:
        caches: caches of the same heads, routing heads, dimensions, chunk size, dtype and device. They are copied.
    """
    free = [int(cache.free_count) for cache in caches]
    pages = [cache.free.shape[0] for cache in caches]
    first_page = [sum(pages[:index]) for index in range(len(pages))]
    listed = max(cache.table.shape[-1] for cache in caches)
    empty = [listed - cache.table.shape[-1] for cache in caches]
    moved = list(zip(caches, first_page, strict=True))
    padded = list(zip(caches, first_page, empty, strict=True))
    stacks = [cache.free + first for cache, first in moved]
    return KVCache(
        keys=torch.cat([cache.keys for cache in caches]),
        values=torch.cat([cache.values for cache in caches]),
        table=torch.cat([F.pad(cache.table + first, (0, more)) for cache, first, more in padded]),
        weight=torch.cat([F.pad(cache.weight, (0, more)) for cache, _, more in padded]),
        kept=torch.cat([cache.kept for cache in caches]),
        open_page=torch.cat([cache.open_page + first for cache, first in moved]),
        fill=torch.cat([cache.fill for cache in caches]),
        free=torch.cat(
            [stack[:count] for stack, count in zip(stacks, free, strict=True)]
            + [stack[count:] for stack, count in zip(stacks, free, strict=True)]
        ),
        free_count=torch.stack([cache.free_count for cache in caches]).sum(0, dtype=torch.int32),
        spare_pages=sum(free),
        spare_chunks=min(cache.spare_chunks + more for cache, _, more in padded),
    )


def pages_in_use(cache: KVCache) -> int:
    """Count the pages of kept and of running chunks. Waits for the GPU."""
    check_type("cache", cache, KVCache)
    return cache.free.shape[0] - int(cache.free_count)


def bytes_in_use(cache: KVCache) -> int:
    """Count the bytes of keys and values in used pages; the allocated pool is larger. Waits for the GPU."""
    return pages_in_use(cache) * sum(pool[0].numel() * pool.element_size() for pool in (cache.keys, cache.values))


def larger(size: int) -> int:
    """Return the size to which a pool or a list grows."""
    return math.ceil(size * GROWTH)
