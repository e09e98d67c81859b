"""Routed softmax attention one token at a time, with an explicit KV cache; no step waits for the GPU.

>>> import torch
>>> from nas.kernels.chunk_softmax_attention.decode import (
...     chunk_softmax_attention_step, close_chunk, empty_cache, pages_in_use
... )
>>> cache = empty_cache(batch=1, heads=4, routing_heads=2, key_dim=8, value_dim=8, chunk_size=4)
>>> q = k = v = torch.ones(1, 4, 8)
>>> for token in range(1, 9):
...     o, cache = chunk_softmax_attention_step(q, k, v, cache)
...     if token % 4 == 0:
...         cache = close_chunk(cache, torch.tensor([[1.0, 0.0]]))  # heads 2 and 3 skip this chunk
>>> pages_in_use(cache)  # two chunks that the first routing head kept, and the running chunk of each
4
"""

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_scale, check_token, check_type, without_autocast
from nas.kernels.chunk_softmax_attention.kv_cache import (
    KVCache,
    bytes_in_use,
    cache_of_prefill,
    empty_cache,
    join_caches,
    pages_in_use,
)
from nas.kernels.chunk_softmax_attention.kv_growth import close_chunk, make_room
from nas.kernels.triton_support import choose


@torch.no_grad()
def chunk_softmax_attention_step(
    q: Tensor, k: Tensor, v: Tensor, cache: KVCache, *, scale: float | None = None, impl: Impl = "auto"
) -> tuple[Tensor, KVCache]:
    """Compute one token of `nas.kernels.chunk_softmax_attention`; no gradients, no host synchronisation.

    The token is written to the page of the running chunk and attends to that page and the kept pages. Call
    `close_chunk` when the chunk is full, before the next step. A step on a full chunk writes nothing, and from then on
    every step returns NaN for that sequence.

    Args:
        q: [B, H, K]; H is a multiple of the heads of k, v and the cache, as in `chunk_softmax_attention`.
        k: [B, G, K].
        v: [B, G, V].
        cache: the cache before this token, updated in place.
        scale: factor on the scores; 1 / sqrt(K) by default.
        impl: as for `chunk_softmax_attention`.

    Returns:
        o [B, H, V] in the dtype of v, and the cache after this token (the same buffers).

    Raises:
        ValueError: a shape, dtype, device or option is not as above; the message names it.
    """
    _check_step(q, k, v, cache, scale, impl)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    operation = "chunk_softmax_attention.chunk_softmax_attention_step"
    step = triton_step if choose(impl, q, k, v, cache.chunk_size, operation) == "triton" else reference_step
    return step(q, k, v, cache, scale), cache


def triton_step(q: Tensor, k: Tensor, v: Tensor, cache: KVCache, scale: float) -> Tensor:
    """Compute a valid step by the Triton kernels."""
    from nas.kernels.chunk_softmax_attention import triton_decode

    pages = (cache.keys, cache.values, cache.table, cache.weight, cache.kept, cache.open_page, cache.fill)
    return triton_decode.step(q, k, v, *pages, scale)


@without_autocast
def reference_step(q: Tensor, k: Tensor, v: Tensor, cache: KVCache, scale: float) -> Tensor:
    """Attend to all lists at once, padded to the longest list, with the running chunk last; padding is masked."""
    dtype, size = cache.weight.dtype, cache.chunk_size
    of_page = (cache.kept.shape[1], cache.keys.shape[1])
    q = q.unflatten(1, (*of_page, -1))  # [B, R, G, heads of q for each head of k, K]
    k, new = (x.unflatten(1, of_page) for x in (k, v))  # [B, R, G, K or V]
    full = cache.fill >= size
    at = cache.fill.clamp(max=size - 1)[:, None]  # [B, 1]
    for pool, x in ((cache.keys, k), (cache.values, new)):
        old = pool[cache.open_page, :, at]
        pool[cache.open_page, :, at] = torch.where(full[:, None, None, None], old, x.to(pool.dtype))

    longest = cache.table.shape[-1] if q.is_cuda else int(cache.kept.max())  # reading the value would wait for the GPU
    entry = torch.arange(longest + 1, device=q.device)
    running = entry == longest
    pages = torch.cat([cache.table[..., :longest], cache.open_page[..., None]], dim=-1)  # [B, R, N + 1]
    tokens = torch.where(entry < cache.kept[..., None], size, torch.where(running, at[..., None] + 1, 0))
    there = torch.arange(size, device=q.device) < tokens[..., None]  # [B, R, N + 1, C]
    weight = torch.where(running, 1.0, F.pad(cache.weight[..., :longest], (0, 1)))

    keys, values = cache.keys[pages].to(dtype), cache.values[pages].to(dtype)  # [B, R, N + 1, G, C, K or V]
    s = scale * torch.einsum("brghk,brngck->brghnc", q.to(dtype), keys) + weight.log()[:, :, None, None, :, None]
    p = s.masked_fill(~there[:, :, None, None], -torch.inf).flatten(4).softmax(-1).view_as(s)
    values = values.masked_fill(~there[:, :, :, None, :, None], 0.0)  # an unwritten value may be anything
    o = torch.einsum("brghnc,brngcv->brghv", p, values).flatten(1, 3)
    cache.fill.copy_((cache.fill + 1).clamp(max=size + 1))
    return o.masked_fill(full[:, None, None], torch.nan).to(v.dtype)


def _check_step(q: Tensor, k: Tensor, v: Tensor, cache: KVCache, scale: float | None, impl: str) -> None:
    """Raise ValueError unless the tensors form a valid step on this cache."""
    check_choice("impl", impl, get_args(Impl))
    check_scale(scale)
    check_type("cache", cache, KVCache)
    batch, routing_heads = cache.kept.shape
    check_token(q, k, v, cache.keys, cache.values, batch, routing_heads * cache.keys.shape[1])


__all__ = [
    "KVCache",
    "bytes_in_use",
    "cache_of_prefill",
    "chunk_softmax_attention_step",
    "close_chunk",
    "empty_cache",
    "join_caches",
    "make_room",
    "pages_in_use",
]
