"""Sliding-window attention one token at a time, from a cache of the last ``window`` tokens: no step waits for the GPU.

The cache is a ring: token t lies in slot t % window, where it replaces the token that has just left the window. Softmax
does not depend on the order of its keys, so a step reads the slots in memory order.

>>> import torch
>>> from nas.kernels.chunk_softmax_attention.window_decode import (
...     bytes_in_use, window_attention_step, window_cache_of_prefill
... )
>>> prompt = torch.ones(1, 9, 2, 8)
>>> cache = window_cache_of_prefill(prompt, prompt, window=4)
>>> q = k = v = torch.ones(1, 2, 8)
>>> o, cache = window_attention_step(q, k, v, cache)
>>> bytes_in_use(cache)  # 4 tokens, 2 heads, 8 + 8 channels, 4 bytes
512
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from nas.kernels.arguments import (
    MAX_SIZE,
    Impl,
    check_choice,
    check_dtype,
    check_prefix,
    check_scale,
    check_sizes,
    check_token,
    check_type,
    compute_dtype,
    without_autocast,
)
from nas.kernels.triton_support import CHUNK_SIZES, choose


class WindowCache(NamedTuple):
    """State of decoding between tokens, contiguous; its size does not depend on the number of tokens.

    Steps update the tensors in place, so that a captured CUDA graph can be replayed.
    """

    keys: Tensor
    """[B, H, window, K]; unused slots hold zeros."""
    values: Tensor
    """[B, H, window, V]; unused slots hold zeros."""
    seen: Tensor
    """[B] int64 number of tokens of each sequence so far."""

    @property
    def window(self) -> int:
        """Return the number of tokens that a query sees, itself included."""
        return self.keys.shape[2]


@torch.no_grad()
def window_cache_of_prefill(k: Tensor, v: Tensor, *, window: int, dtype: torch.dtype | None = None) -> WindowCache:
    """Return the cache after a whole prefix; it holds copies of the last ``window`` tokens.

    Args:
        k, v: [B, T, H, K] and [B, T, H, V], the inputs of `nas.kernels.chunk_softmax_attention`.
        window: tokens that a query sees, itself included.
        dtype: dtype of the cache, to which keys and values are rounded; that of k by default.
    """
    check_prefix(k, v)
    check_sizes(MAX_SIZE, window=window)
    dtype = k.dtype if dtype is None else dtype
    check_dtype(dtype)
    batch, length, heads, _ = k.shape
    cache = WindowCache(
        keys=k.new_zeros(batch, heads, window, k.shape[-1], dtype=dtype),
        values=v.new_zeros(batch, heads, window, v.shape[-1], dtype=dtype),
        seen=torch.full((batch,), length, dtype=torch.int64, device=k.device),
    )
    first = max(0, length - window)
    slot = torch.arange(first, length, device=k.device) % window
    for ring, x in ((cache.keys, k), (cache.values, v)):
        ring.index_copy_(2, slot, x[:, first:].transpose(1, 2).to(dtype))
    return cache


@torch.no_grad()
def window_attention_step(
    q: Tensor, k: Tensor, v: Tensor, cache: WindowCache, *, scale: float | None = None, impl: Impl = "auto"
) -> tuple[Tensor, WindowCache]:
    """Attend with one token per sequence to the last ``window`` tokens; no gradients, no host synchronisation.

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
    check_choice("impl", impl, get_args(Impl))
    check_scale(scale)
    check_type("cache", cache, WindowCache)
    batch, heads, _, key_dim = cache.keys.shape
    check_token(q, k, v, cache.keys, cache.values, batch, heads)
    scale = key_dim**-0.5 if scale is None else scale
    chunk_size = CHUNK_SIZES[0]  # a window does not depend on chunks
    chosen = choose(impl, q, k, v, chunk_size, "chunk_softmax_attention.window_attention_step")
    return (triton_step if chosen == "triton" else reference_step)(q, k, v, cache, scale), cache


def triton_step(q: Tensor, k: Tensor, v: Tensor, cache: WindowCache, scale: float) -> Tensor:
    """Compute a valid step by the Triton kernels."""
    from nas.kernels.chunk_softmax_attention import triton_window_decode

    return triton_window_decode.step(q, k, v, *cache, scale)


@without_autocast
def reference_step(q: Tensor, k: Tensor, v: Tensor, cache: WindowCache, scale: float) -> Tensor:
    """Write the token to its slot, then attend to all used slots."""
    dtype, window = compute_dtype(cache.keys.dtype), cache.window
    slot = (cache.seen % window)[:, None, None, None]
    for ring, x in ((cache.keys, k), (cache.values, v)):
        ring.scatter_(2, slot.expand(-1, x.shape[1], 1, x.shape[2]), x[:, :, None].to(ring.dtype))
    cache.seen.add_(1)
    reached = torch.arange(window, device=q.device) < cache.seen[:, None]  # [B, window]
    q = q.to(dtype).unflatten(1, (k.shape[1], -1))  # [B, heads of k, heads of q for each of them, K]
    s = scale * torch.einsum("bghk,bgwk->bghw", q, cache.keys.to(dtype))
    p = s.masked_fill(~reached[:, None, None], -torch.inf).softmax(-1)
    return torch.einsum("bghw,bgwv->bghv", p, cache.values.to(dtype)).flatten(1, 2).to(v.dtype)


def bytes_in_use(cache: WindowCache) -> int:
    """Count the bytes of keys and values of tokens in the window; the ring may be larger. Waits for the GPU."""
    check_type("cache", cache, WindowCache)
    tokens = int(cache.seen.clamp(max=cache.window).sum())
    return tokens * sum(ring[0, :, 0].numel() * ring.element_size() for ring in (cache.keys, cache.values))


__all__ = [
    "WindowCache",
    "bytes_in_use",
    "window_attention_step",
    "window_cache_of_prefill",
]
