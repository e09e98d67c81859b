"""Softmax attention in PyTorch: blocks of queries against their visible keys, with linear memory.

With a window, a block's forward pass is an ordinary softmax over the blocks of keys within the window. With a route, a
weight w on exp(s) equals log(w) added to s, so the forward pass is an ordinary softmax with a bias per key. The
backward pass recomputes the probabilities from the saved log-sum-exp. It derives the gradient of the route from the
same products as those of q, k and v.

With fewer heads of k and v than of q, the query heads of a group attend one after another to the same keys. Packed
documents attend one after another.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.kernels.arguments import bounded_chunk_size, compute_dtype, num_chunks, without_autocast

MIN_QUERY_BLOCK = 64
"""Fewest queries in a block: enough work per call to hide the overhead of the call."""
FEW = 16.0
"""Room between the smallest exp(s - lse) that the backward pass computes and numbers that are slow to compute with."""


def chunk_softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    borders: list[int] | None = None,
) -> Tensor:
    """Compute `nas.kernels.chunk_softmax_attention` of valid arguments, without a window."""

    def attend(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None) -> Tensor:
        return _by_group(lambda q, k, v: _routed_attention(q, k, v, route, chunk_size, scale, full_route_grad), q, k, v)

    return _by_document(attend, q, k, v, route, chunk_size, borders)


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, borders: list[int] | None = None
) -> Tensor:
    """Compute `nas.kernels.chunk_softmax_attention` of valid arguments with a window."""

    def attend(q: Tensor, k: Tensor, v: Tensor, _: None) -> Tensor:
        return _by_group(lambda q, k, v: _window_attention(q, k, v, window, scale), q, k, v)

    return _by_document(attend, q, k, v, None, window, borders)


def _by_document(
    attend: Callable[[Tensor, Tensor, Tensor, Any], Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    chunk_size: int,
    borders: list[int] | None,
) -> Tensor:
    """Compute attention within each packed document in turn; without borders all tokens are one document."""
    if borders is None:
        return attend(q, k, v, route)
    lengths = [end - start for start, end in pairwise(borders)]
    chunks = [num_chunks(length, chunk_size) for length in lengths]
    routes = (None,) * len(lengths) if route is None else route.split(chunks, dim=1)
    documents = zip(*(x.split(lengths, dim=1) for x in (q, k, v)), routes, strict=True)
    return torch.cat([attend(*document) for document in documents if document[0].shape[1] > 0], dim=1)


@without_autocast
def _by_group(attend: Callable[[Tensor, Tensor, Tensor], Tensor], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention with as many heads of q as of k and v for each query head of a group: k and v stay shared."""
    groups = k.shape[2]
    if q.shape[2] == groups:
        return attend(q, k, v)
    dtype = compute_dtype(q.dtype)  # also of the sums over a group in the backward pass
    keys, values = k.to(dtype), v.to(dtype)
    members = q.unflatten(2, (groups, -1)).unbind(3)
    return torch.stack([attend(x, keys, values) for x in members], dim=3).flatten(2, 3).to(v.dtype)


@without_autocast
def _routed_attention(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None, chunk_size: int, scale: float, full_route_grad: bool
) -> Tensor:
    """Compute attention with a route or without, for as many heads of q as of k and v."""
    dtype, output_dtype = compute_dtype(q.dtype), v.dtype
    batch, length, heads, _ = q.shape
    chunk_size = bounded_chunk_size(chunk_size, length)
    q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))
    if route is None:
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    else:
        per_head = route.to(dtype).transpose(1, 2).repeat_interleave(heads // route.shape[2], dim=1)
        flat = (x.flatten(0, 1) for x in (q * scale, k, v, per_head))
        o = _RoutedAttention.apply(*flat, chunk_size, full_route_grad).unflatten(0, (batch, heads))
    return o.transpose(1, 2).to(output_dtype)


@without_autocast
def _window_attention(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float) -> Tensor:
    """Compute attention with a window, for as many heads of q as of k and v.

    Keys are split into blocks, and each block of queries concatenates the blocks that it needs. One slice of the keys
    per block of queries would be slower: the gradient of a slice is as large as the whole sequence.
    """
    dtype, output_dtype = compute_dtype(q.dtype), v.dtype
    size = max(MIN_QUERY_BLOCK, window // 2)  # a block of queries then reads at most 4 blocks of keys
    queries, keys, values = (x.to(dtype).transpose(1, 2).split(size, dim=2) for x in (q, k, v))
    position = torch.arange(q.shape[1], device=q.device).split(size)
    outputs = []
    for n, block in enumerate(queries):
        seen = slice(max(0, n * size - window + 1) // size, n + 1)
        age = position[n][:, None] - torch.cat(position[seen])
        visible = (age >= 0) & (age < window)
        k_seen, v_seen = torch.cat(keys[seen], dim=2), torch.cat(values[seen], dim=2)
        outputs.append(F.scaled_dot_product_attention(block, k_seen, v_seen, visible, scale=scale))
    return torch.cat(outputs, dim=2).transpose(1, 2).to(output_dtype)


def _query_blocks(length: int, chunk_size: int) -> list[tuple[int, int]]:
    """Return the bounds of the query blocks, each a whole number of chunks."""
    size = chunk_size * num_chunks(MIN_QUERY_BLOCK, chunk_size)
    return [(start, min(start + size, length)) for start in range(0, length, size)]


class _RoutedAttention(torch.autograd.Function):
    """Routed attention with gradients; q (already scaled), k [M, T, K], v [M, T, V], route [M, N], with M = B * H."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, route: Tensor, chunk_size: int, full: bool) -> Tensor:
        numbers = torch.finfo(q.dtype)
        route = route.masked_fill(route < numbers.tiny, 0.0)
        bias = _per_key(route.log().clamp_(min=numbers.min / 2), q.shape[1], chunk_size)  # finite: 0 * log(0) is 0
        o, lse = torch.empty_like(v), torch.empty_like(q[..., :1])
        for start, end in _query_blocks(q.shape[1], chunk_size):
            own, earlier = _visibility(end - start, chunk_size, q)
            s = torch.bmm(q[:, start:end], k[:, :end].mT)
            s[..., :start] += bias[..., :start]
            s[..., start:].add_((own + earlier).log()).addcmul_(earlier, bias[..., start:end])
            p = s.softmax(-1)
            o[:, start:end] = torch.bmm(p, v[:, :end])
            lse[:, start:end] = s.amax(-1, keepdim=True) - p.amax(-1, keepdim=True).log_()
        ctx.save_for_backward(q, k, v, route, o, lse)
        ctx.chunk_size, ctx.full = chunk_size, full
        return o

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, route, o, lse = ctx.saved_tensors
        length, chunk_size = q.shape[1], ctx.chunk_size
        # A visible chunk has weight w: exp(s + log(w) - lse) is at most 1, while exp(s - lse) may be as large as 1 / w.
        seen = _per_key((route > 0).to(q.dtype), length, chunk_size)
        bias = _per_key(torch.where(route > 0, route, 1.0).log_(), length, chunk_size)
        dq, dk, dv, dlog = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(seen)
        do = do.contiguous()  # its memory is [B, T, H, V]: each product would copy it again
        delta = (do * o).sum(-1, keepdim=True)
        # exp(s - lse) of a skipped chunk must not become inf; below the floor exp is 0, and many times slower.
        numbers = torch.finfo(q.dtype)
        floor, ceiling = math.log(numbers.tiny) + FEW, math.log(numbers.max) / 2
        for start, end in _query_blocks(length, chunk_size):
            rows, past = slice(start, end), slice(0, start)
            own, earlier = _visibility(end - start, chunk_size, q)
            e = torch.bmm(q[:, rows], k[:, :end].mT).sub_(lse[:, rows]).clamp_(min=floor)
            e[..., past] += bias[..., past]
            e[..., rows].addcmul_(earlier, bias[..., rows])
            e.clamp_(max=ceiling).exp_()
            ds = torch.bmm(do[:, rows], v[:, :end].mT).sub_(delta[:, rows]).mul_(e)
            dlog[..., past] += ds[..., past].sum(-2, keepdim=True)
            dlog[..., rows] += (ds[..., rows] * earlier).sum(-2, keepdim=True)
            here = torch.addcmul(own, earlier, seen[..., rows])
            for x in (e, ds):
                x[..., past] *= seen[..., past]
                x[..., rows] *= here
            dq[:, rows] = torch.bmm(ds, k[:, :end])
            dk[:, :end] += torch.bmm(ds.mT, q[:, rows])
            dv[:, :end] += torch.bmm(e.mT, do[:, rows])
        pad = num_chunks(length, chunk_size) * chunk_size - length
        droute = F.pad(dlog.squeeze(1), (0, pad)).unflatten(-1, (-1, chunk_size)).sum(-1)
        droute /= torch.where(route > 0, route, 1.0)
        if not ctx.full:
            droute = droute.masked_fill(route == 0, 0.0)
        return dq, dk, dv, droute, None, None


def _per_key(x: Tensor, length: int, chunk_size: int) -> Tensor:
    """Expand [M, N] to [M, 1, T]: the value of each chunk for each of its keys."""
    return x.repeat_interleave(chunk_size, dim=-1)[:, None, :length]


def _visibility(size: int, chunk_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return [size, size] masks of own-chunk causal pairs and earlier-chunk pairs, within a block of ``size`` tokens.

    They are ones and zeros in the dtype of ``like``: adding and multiplying is faster than selecting by booleans.
    """
    position = torch.arange(size, device=like.device)
    chunk = position // chunk_size
    own = (chunk[:, None] == chunk[None]) & (position[:, None] >= position[None])
    return own.to(like.dtype), (chunk[:, None] > chunk[None]).to(like.dtype)
