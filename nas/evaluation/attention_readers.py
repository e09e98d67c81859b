"""Readers of a chunk: the later tokens with the largest softmax attention to it.

>>> import torch
>>> from nas.evaluation.attention_readers import readers_of_chunks
>>> q = k = torch.ones(4, 1, 2)  # every token attends equally to all visible tokens
>>> found = readers_of_chunks(q, k, torch.tensor([[1.0], [0.0]]), chunk_size=2, count=1)
>>> found.tokens.tolist(), found.weights.tolist()
([[[2], [-1]]], [[[0.6666666865348816], [0.0]]])
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import compute_dtype, num_chunks, without_autocast

LARGEST_BLOCK = 2**23
"""Number of attention weights in memory at once: 32 MiB of float32, at any length."""


class Readers(NamedTuple):
    """The tokens with the largest attention to each of N chunks, largest first.

    Attributes:
        tokens: [R, N, count] int64 positions of the tokens; -1 if fewer tokens attend to the chunk.
        weights: [R, N, count] fraction of a token's attention to the chunk, averaged over the softmax heads of the
            routing head; 0 without a token.
    """

    tokens: Tensor
    weights: Tensor


@torch.no_grad()
@without_autocast
def readers_of_chunks(
    q: Tensor, k: Tensor, route: Tensor, *, chunk_size: int, scale: float | None = None, count: int = 3
) -> Readers:
    """Return the later tokens with the largest attention to each chunk.

    The attention is that of `nas.kernels.chunk_softmax_attention`. A chunk with a route of 0 has no readers. Queries
    are processed in blocks, so that memory grows with T and not with T * T.

    Args:
        q: [T, H, K] queries of one sequence.
        k: [T, G, K] keys; G divides H, and H / G consecutive heads of q read one head of k.
        route: [N, R] route of each chunk, in [0, 1].
        chunk_size: tokens in a chunk.
        scale: scale of the scores; 1 / sqrt(K) by default.
        count: number of tokens to return for each chunk.
    """
    length, heads, width = q.shape
    groups, dtype = route.shape[1], compute_dtype(q.dtype)
    scale = width**-0.5 if scale is None else scale
    q, k = (x.to(dtype).transpose(0, 1) for x in (q, k))  # [H, T, K]
    q, k = q * scale, k.repeat_interleave(heads // len(k), 0)
    bias = route.to(dtype).T.log().repeat_interleave(heads // groups, 0).repeat_interleave(chunk_size, 1)
    weights = q.new_zeros(groups, route.shape[0], count)
    tokens = torch.full(weights.shape, -1, device=q.device)
    position = torch.arange(length, device=q.device)
    chunk = position // chunk_size
    block = max(LARGEST_BLOCK // (heads * length), 1)
    for start in range(0, length, block):
        end = min(start + block, length)
        n = num_chunks(end, chunk_size)
        rows = slice(start, end)
        s = q[:, rows] @ k[:, :end].mT
        s = torch.where(chunk[rows, None] == chunk[:end], s, s + bias[:, None, :end])
        s = s.masked_fill(position[rows, None] < position[:end], -torch.inf)
        p = s.softmax(-1).unflatten(0, (groups, -1)).mean(1)  # [R, queries, keys]
        p = F.pad(p, (0, n * chunk_size - end)).unflatten(-1, (n, chunk_size)).sum(-1)
        p = p.masked_fill(chunk[rows, None] <= torch.arange(n, device=q.device), 0)  # later tokens only
        best = torch.cat([weights[:, :n], p.mT], -1).topk(count)
        known = torch.cat([tokens[:, :n], position[rows].expand(groups, n, -1)], -1)
        weights[:, :n], tokens[:, :n] = best.values, known.gather(-1, best.indices)
    return Readers(tokens.masked_fill(weights == 0, -1), weights)
