"""Routed softmax attention in PyTorch: blocks of queries against all their keys, linear memory.

A weight w on exp(s) is the same as adding log(w) to s, so a block's forward pass is an ordinary softmax
with a bias per key. The backward pass recomputes the probabilities from the saved log-sum-exp, and gets
the gradient of the route from the same products as those of q, k and v.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.arguments import compute_dtype, num_chunks

MIN_QUERY_BLOCK = 64
"""Fewest queries handled at once: enough work per call to hide the cost of calling."""


def chunk_softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None, chunk_size: int, scale: float, full_route_grad: bool
) -> Tensor:
    """See `kernels.chunk_softmax_attention`; arguments are valid here. Shapes as there."""
    dtype = compute_dtype(q.dtype)
    heads_first = [x.to(dtype).transpose(1, 2) for x in (q, k, v)]
    if route is None:
        o = F.scaled_dot_product_attention(*heads_first, is_causal=True, scale=scale)
    else:
        per_head = route.to(dtype).transpose(1, 2).repeat_interleave(q.shape[2] // route.shape[2], dim=1)
        o = _RoutedAttention.apply(*heads_first, per_head, chunk_size, scale, full_route_grad)
    return o.transpose(1, 2).to(v.dtype)


def _query_blocks(length: int, chunk_size: int) -> list[tuple[int, int]]:
    """Bounds of the query blocks, each a whole number of chunks."""
    size = chunk_size * num_chunks(MIN_QUERY_BLOCK, chunk_size)
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _scores(q: Tensor, k: Tensor, start: int, end: int, own: Tensor, earlier: Tensor, scale: float) -> Tensor:
    """scale * q_i . k_j of the queries start:end, -inf where j may not be seen at all: [B, H, end - start, end]."""
    s = torch.matmul(q[:, :, start:end] * scale, k[:, :, :end].mT)
    s[..., start:].masked_fill_(~(own | earlier), -math.inf)
    return s


class _RoutedAttention(torch.autograd.Function):
    """o and its gradients for heads-first tensors: q, k [B, H, T, K], v [B, H, T, V], route [B, H, N]."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, route: Tensor, chunk_size: int, scale: float, full: bool
    ) -> Tensor:
        length = q.shape[2]
        bias = route.log().repeat_interleave(chunk_size, dim=-1)[:, :, None, :length]
        o = torch.empty_like(v)
        lse = torch.empty(q.shape[:3], dtype=q.dtype, device=q.device)
        for start, end in _query_blocks(length, chunk_size):
            own, earlier = _visibility(end - start, chunk_size, q.device)
            s = _scores(q, k, start, end, own, earlier, scale)
            s[..., :start] += bias[..., :start]
            s[..., start:] += torch.where(own, 0.0, bias[..., start:end])
            top = s.amax(-1, keepdim=True)
            p = s.sub_(top).exp_()
            total = p.sum(-1, keepdim=True)
            o[:, :, start:end] = torch.matmul(p, v[:, :, :end]) / total
            lse[:, :, start:end] = (top + total.log()).squeeze(-1)
        ctx.save_for_backward(q, k, v, route, o, lse)
        ctx.chunk_size, ctx.scale, ctx.full = chunk_size, scale, full
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, route, o, lse = ctx.saved_tensors
        length, chunk_size = q.shape[2], ctx.chunk_size
        weight = route.repeat_interleave(chunk_size, dim=-1)[:, :, :length, None]
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        dweight = torch.zeros_like(weight)
        delta = (do * o).sum(-1, keepdim=True)
        ceiling = math.log(torch.finfo(q.dtype).max) / 2  # a skipped chunk's exp(s - lse) must not become inf
        for start, end in _query_blocks(length, chunk_size):
            own, earlier = _visibility(end - start, chunk_size, q.device)
            rows = slice(start, end)
            e = _scores(q, k, start, end, own, earlier, ctx.scale).sub_(lse[:, :, rows, None])
            e = e.clamp_(max=ceiling).exp_()
            ds = torch.matmul(do[:, :, rows], v[:, :, :end].mT).sub_(delta[:, :, rows]).mul_(e)
            # Keys of earlier blocks: their weight is one number a key, so it scales rows of the small
            # results instead of the large [queries, keys] matrices.
            past, w = slice(0, start), weight[:, :, :start]
            dq_rows = torch.matmul(ds[..., past], w * k[:, :, past])
            dk[:, :, past] += w * torch.matmul(ds[..., past].mT, q[:, :, rows])
            dv[:, :, past] += w * torch.matmul(e[..., past].mT, do[:, :, rows])
            dweight[:, :, past, 0] += ds[..., past].sum(-2)
            # Keys of this block: weight 1 in the query's own chunk, the route's before it.
            here = ds[..., rows]
            dweight[:, :, rows, 0] += (here * earlier).sum(-2)
            w_here = torch.where(own, 1.0, weight[:, :, rows].mT)
            here, e_here = here * w_here, e[..., rows] * w_here
            dq[:, :, rows] = torch.matmul(here, k[:, :, rows]).add_(dq_rows)
            dk[:, :, rows] += torch.matmul(here.mT, q[:, :, rows])
            dv[:, :, rows] += torch.matmul(e_here.mT, do[:, :, rows])
        pad = num_chunks(length, chunk_size) * chunk_size - length
        droute = F.pad(dweight.squeeze(-1), (0, pad)).unflatten(-1, (-1, chunk_size)).sum(-1)
        if not ctx.full:
            droute = droute.masked_fill(route == 0, 0.0)
        return dq * ctx.scale, dk * ctx.scale, dv, droute, None, None, None


def _visibility(size: int, chunk_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Within a block of ``size`` tokens: [size, size] masks of own-chunk causal pairs and of earlier-chunk pairs."""
    position = torch.arange(size, device=device)
    chunk = position // chunk_size
    own = (chunk[:, None] == chunk[None]) & (position[:, None] >= position[None])
    return own, chunk[:, None] > chunk[None]
