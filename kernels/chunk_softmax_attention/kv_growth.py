"""Ends of chunks in a KV cache, and the growth that they need.

Closing a chunk needs at most one page per list. The host keeps a lower bound of the free pages and reads the true
number from the GPU only when the bound is used up; it then enlarges the pool if necessary. So `make_room` and
`close_chunk` wait for the GPU now and then.
"""

from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import check_shape, check_tensors, check_type
from nas.kernels.chunk_softmax_attention.kv_cache import KVCache, larger
from nas.kernels.machine import GIB, free_memory


@torch.no_grad()
def close_chunk(cache: KVCache, route: Tensor | None = None, *, ending: int | None = None) -> KVCache:
    """End the running chunk of every sequence in which it is full; other sequences stay unchanged.

    Where route == 0 the page is reused for the next chunk; elsewhere it is kept and a new page is taken. Pool and lists
    grow where needed. A replayed CUDA graph cannot grow them: give `empty_cache` enough ``pages`` and ``max_chunks``
    for all replays. A sequence for which a replay finds no page keeps its chunk full, and its next step returns NaN.

    Args:
        cache: the cache, updated in place unless it has to grow.
        route: [B, R] in [0, 1] of these chunks; None means ones.
        ending: number of sequences whose chunk is full, if it is known; the cache then reads from the GPU, and grows,
            later. All by default.

    Raises:
        ValueError: an argument is not as above, or the cache cannot grow, as in `make_room`.
    """
    cache = make_room(cache, ending)
    check_tensors(("route",), cache=cache.keys, route=route)
    batch, routing_heads, most = cache.table.shape
    if route is None:
        route = torch.ones_like(cache.weight[..., 0])
    check_shape("route", route, (batch, routing_heads), "[B, R]")
    taken_pages = _lists(cache, ending)
    cache = cache._replace(spare_pages=cache.spare_pages - taken_pages, spare_chunks=cache.spare_chunks - 1)

    route = route.to(cache.weight.dtype)
    keep = (route > 0) & (cache.fill == cache.chunk_size)[:, None]
    closes = (cache.fill == cache.chunk_size) & ~(keep & (cache.kept == most)).any(1)
    keep &= closes[:, None]
    closes &= keep.sum(1).cumsum(0) <= cache.free_count  # the first sequences have priority
    keep &= closes[:, None]

    entry = cache.kept.clamp(max=most - 1)[..., None].long()
    for row, new in ((cache.table, cache.open_page), (cache.weight, route)):
        row.scatter_(-1, entry, torch.where(keep[..., None], new[..., None], row.gather(-1, entry)))
    taken = keep.flatten().cumsum(0).view_as(keep)  # 1 is the top of the stack
    page = cache.free[(cache.free_count - taken).clamp(min=0)]
    cache.open_page.copy_(torch.where(keep, page, cache.open_page))
    cache.kept.add_(keep)
    cache.free_count.sub_(keep.sum())
    cache.fill.masked_fill_(closes, 0)
    return cache


@torch.no_grad()
def make_room(cache: KVCache, ending: int | None = None) -> KVCache:
    """Return a cache with room for the next call of `close_chunk`, enlarged if needed.

    Waits for the GPU if the bounds of the host are used up. A larger pool is a copy: while it is made, both are in
    memory. It has `GROWTH` times the pages, or as few more as needed if memory is short.

    Args:
        cache: the cache, not changed.
        ending: number of sequences whose chunk is full; all by default.

    Raises:
        ValueError: ending is no number of sequences, or a larger pool does not fit in memory. The given cache can still
            be used.
    """
    check_type("cache", cache, KVCache)
    batch = cache.kept.shape[0]
    if ending is not None and not (isinstance(ending, int) and 1 <= ending <= batch):
        raise ValueError(f"ending={ending!r} is not allowed; it must be an integer from 1 to the batch of {batch}.")
    needed = _lists(cache, ending)
    if cache.spare_pages >= needed and cache.spare_chunks >= 1:
        return cache
    spare_pages, spare_chunks = int(cache.free_count), cache.table.shape[-1] - int(cache.kept.max())
    cache = cache._replace(spare_pages=spare_pages, spare_chunks=spare_chunks)
    if spare_chunks >= 1 and spare_pages >= needed:
        return cache
    pages, missing = cache.free.shape[0], max(0, needed - spare_pages)
    usual = max(missing, larger(pages) - pages) if missing else 0
    for more in (usual, missing):
        with suppress(torch.OutOfMemoryError):
            longer = _with_longer_lists(cache) if spare_chunks < 1 else cache
            return _with_pages(longer, more) if more else longer
    raise ValueError(
        f"the KV cache cannot grow from {pages} to {pages + missing} pages of {cache.chunk_size} tokens: beside the "
        f"{_gib(cache, pages):.2f} GiB in use, {_gib(cache, pages + missing):.2f} GiB are needed, and "
        f"{free_memory(cache.keys.device)}; free memory and repeat the call, or decode fewer or shorter sequences."
    )


def _lists(cache: KVCache, ending: int | None) -> int:
    """Return the number of lists of the sequences that end a chunk."""
    batch, routing_heads = cache.kept.shape
    return (batch if ending is None else ending) * routing_heads


def _with_longer_lists(cache: KVCache) -> KVCache:
    """Return a cache whose lists have room for more kept chunks."""
    listed = cache.table.shape[-1]
    more = larger(listed) - listed
    table, weight = F.pad(cache.table, (0, more)), F.pad(cache.weight, (0, more))
    return cache._replace(table=table, weight=weight, spare_chunks=cache.spare_chunks + more)


def _with_pages(cache: KVCache, more: int) -> KVCache:
    """Return a cache with a larger pool; ``spare_pages`` is the true number of free pages."""
    pages, spare = cache.free.shape[0], cache.spare_pages
    keys, values = (torch.cat([x, x.new_empty(more, *x.shape[1:])]) for x in (cache.keys, cache.values))
    added = torch.arange(pages, pages + more, dtype=torch.int32, device=cache.free.device)
    free = torch.cat([cache.free[:spare], added.flip(0), cache.free[spare:]])
    return cache._replace(
        keys=keys, values=values, free=free, free_count=cache.free_count + more, spare_pages=spare + more
    )


def _gib(cache: KVCache, pages: int) -> float:
    """Return the GiB of keys and values in pages of a cache."""
    return pages * sum(pool[0].numel() * pool.element_size() for pool in (cache.keys, cache.values)) / GIB
