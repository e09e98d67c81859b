"""Chunks of earlier stretches that their routes keep: only these are sent, and their gradients return.

The number of kept chunks differs between stretches, sequences and routing heads. Each sequence and routing head becomes
a sequence of its own here, whose kept chunks lie before the stretch. Shorter ones are filled up with chunks of route 0.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nas.distributed.context.exchange import exchange
from nas.distributed.context.group import Context


class Kept(NamedTuple):
    """The chunks that a stretch sees, M kept ones of earlier stretches and its own, for B * R sequences.

    Attributes:
        k: [B * R, (M + N) * C, G / R, K].
        v: [B * R, (M + N) * C, G / R, V].
        route: [B * R, M + N, 1].
    """

    k: Tensor
    v: Tensor
    route: Tensor


def with_kept(context: Context, k: Tensor, v: Tensor, route: Tensor, chunk_size: int, every: bool) -> Kept:
    """Return the keys, values and routes of the kept chunks of earlier stretches, followed by those of this stretch.

    The host waits for the routes.

    Args:
        context: processes that share a sequence; all of them call this.
        k, v: [B, T, G, K] and [B, T, G, V] of this stretch, with T a multiple of ``chunk_size``.
        route: [B, N, R] route of this stretch, N = T / chunk_size; R divides G.
        chunk_size: C, tokens in a chunk.
        every: whether dropped chunks are sent too. Gradients of their routes need their keys and values.
    """
    routing_heads = route.shape[2]
    own = [_by_routing_head(x, chunk_size, routing_heads) for x in (k, v)]  # [B, R, N, C, G / R, K or V]
    routes = route.transpose(1, 2)[..., None]  # [B, R, N, 1]
    kept = torch.ones_like(route, dtype=torch.bool) if every else route.detach() > 0
    there = _all_kept(context, kept.transpose(1, 2))  # [size, B, R, N]
    counts = there.flatten(1).sum(1).tolist()
    sent = [counts[context.rank] if to > context.rank else 0 for to in range(context.size)]
    received = [count if source < context.rank else 0 for source, count in enumerate(counts)]
    rows = there[context.rank].flatten().nonzero().flatten()
    places, most = _places(there[: context.rank])
    found = []
    for purpose, x in (("keys", own[0]), ("values", own[1]), ("routes", routes)):
        copies = context.size - 1 - context.rank
        given = x.flatten(0, 2).index_select(0, rows)
        given = given.expand(copies, *given.shape).flatten(0, 1)
        arrived = exchange(context, purpose, given, sent, received)
        earlier = x.new_zeros(x.shape[0] * x.shape[1] * most, *x.shape[3:]).index_copy(0, places, arrived)
        earlier = earlier.view(*x.shape[:2], most, *x.shape[3:])
        found.append(torch.cat([earlier, x], dim=2).flatten(0, 1))
    keys, values, of_routes = found
    return Kept(keys.flatten(1, 2), values.flatten(1, 2), of_routes)


def _by_routing_head(x: Tensor, chunk_size: int, routing_heads: int) -> Tensor:
    """Reshape [B, T, G, D] to [B, R, N, C, G / R, D]."""
    x = x.unflatten(1, (-1, chunk_size)).unflatten(3, (routing_heads, -1))
    return x.permute(0, 3, 1, 2, 4, 5)


def _all_kept(context: Context, kept: Tensor) -> Tensor:
    """Return which chunks each process keeps, [size, ...] bool."""
    own = kept.to(torch.uint8).contiguous()
    made = [torch.empty_like(own) for _ in range(context.size)]
    torch.distributed.all_gather(made, own, group=context.group)
    return torch.stack(made).bool()


def _places(earlier: Tensor) -> tuple[Tensor, int]:
    """Return the places of the kept chunks of earlier stretches [stretches, B, R, N], in order, and the largest number.

    A place is an index in the flattened [B, R, most].
    """
    stretches, batch, heads, chunks = earlier.shape
    by_sequence = earlier.permute(1, 2, 0, 3).reshape(batch * heads, stretches * chunks)
    counts = by_sequence.long().cumsum(1)
    most = int(counts[:, -1].max()) if stretches else 0
    place = counts - 1 + torch.arange(batch * heads, device=earlier.device)[:, None] * most
    place = place.view(batch, heads, stretches, chunks).permute(2, 0, 1, 3)
    return place[earlier], most
