"""Softmax attention over all earlier tokens, or over the chunks that a router keeps."""

import math
from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from nas.distributed.context.chunks import with_kept
from nas.distributed.context.exchange import before
from nas.distributed.context.group import Context
from nas.kernels import chunk_softmax_attention
from nas.kernels.arguments import RouteGrad
from nas.kernels.branch_merge import branch_merge
from nas.kernels.chunk_softmax_attention import decode
from nas.kernels.chunk_softmax_attention.decode import KVCache
from nas.kernels.chunk_softmax_attention.last_queries import attention_of_last
from nas.kernels.triton_support import operand_dtype
from nas.models.layers import NORM_EPS, rms_norm
from nas.models.log_temperature import INITIAL_SCALE, scale_by_log_n
from nas.models.operations.operation import CACHE_BYTES, Branch, CostLine, Ends, Heads, Look, Memory, Projected
from nas.models.recomputation import recomputable
from nas.models.rotary import rotate
from nas.search_spaces.architecture import Architecture


class SoftmaxWeights(Protocol):
    """Parameters of softmax attention in a mixer: norms of the queries, keys and outputs of a head.

    With a log-n temperature, `log_scale` [softmax heads] is its factor.
    """

    architecture: Architecture
    q_norm: nn.RMSNorm
    k_norm: nn.RMSNorm
    softmax_norm: nn.RMSNorm
    log_scale: nn.Parameter


class Softmax(Branch):
    """Softmax attention with q and k RMS-normalised per head and, given a rope_base, rotated by their positions.

    With a log-n temperature, q is multiplied by a learnt factor and the logarithm of the number of keys.
    """

    name = "softmax"
    look = Look("softmax", "#E69F00", "s")
    keeps_all = True
    packs = True
    across = True

    def add_parameters(self, mixer: nn.Module, a: Architecture) -> None:
        if hasattr(mixer, "softmax_norm"):
            return
        keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
        mixer.q_norm = rms_norm(keys // a.softmax_heads)
        mixer.k_norm = rms_norm(keys // a.softmax_heads)
        mixer.softmax_norm = rms_norm(values // a.softmax_heads)
        if a.log_n:
            mixer.log_scale = nn.Parameter(torch.full((a.softmax_heads,), INITIAL_SCALE))

    def heads(self, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> Heads:
        """Return q, k [B, T, H, K] and v [B, T, H, V]."""
        own = cast("SoftmaxWeights", mixer)
        heads = own.architecture.softmax_heads
        norms = given.norms(own.q_norm.weight, own.k_norm.weight, softmax_heads=heads)
        q, k = (cast("Tensor", rms) for _, rms in norms)
        return self.heads_of(mixer, given, q, k, start)

    def heads_of(self, mixer: nn.Module, given: Projected, q: Tensor, k: Tensor, start: int | Tensor) -> Heads:
        """Return the same as `heads` for q and k that are already normalised."""
        own = cast("SoftmaxWeights", mixer)
        a = own.architecture
        if a.rope_base is not None:
            q, k = recomputable(rotate, q, k, a.rope_base, start)
        if a.log_n:
            q = recomputable(scale_by_log_n, q, own.log_scale, start, self.most_keys(a))
        return q, k, given.v.unflatten(-1, (q.shape[2], -1))

    def most_keys(self, a: Architecture) -> float:
        """Return the largest number of keys that a token attends to; infinity for no limit."""
        return math.inf

    def attend(
        self,
        mixer: nn.Module,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        q, k, v = heads
        return chunk_softmax_attention(
            q, k, v, route, chunk_size=chunk_size, cu_seqlens=cu_seqlens, route_grad=route_grad
        )

    def attend_across(
        self,
        mixer: nn.Module,
        context: Context,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
    ) -> Tensor:
        """Attend to the chunks of earlier stretches that are kept, and to this stretch.

        Gradients of the routes of dropped chunks need their keys and values: with ``route_grad="full"`` all are sent.
        """
        if route is None:
            return self._attend_to_last(context, heads, context.size * heads[1].shape[1], None)
        q, k, v = heads
        every = route_grad == "full" and torch.is_grad_enabled() and route.requires_grad
        seen = with_kept(context, k, v, route, chunk_size, every)
        routing_heads = route.shape[2]
        q = q.unflatten(2, (routing_heads, -1)).transpose(1, 2).flatten(0, 1)  # a routing head becomes a sequence
        o = attention_of_last(q, seen.k, seen.v, seen.route, chunk_size=chunk_size, route_grad=route_grad)
        return o.unflatten(0, (-1, routing_heads)).transpose(1, 2).flatten(2, 3)

    def _attend_to_last(self, context: Context, heads: Heads, size: int, window: int | None) -> Tensor:
        """Attend to this stretch and to the last ``size`` tokens before it."""
        q, k, v = heads
        k, v = (torch.cat([before(context, purpose, x, size), x], dim=1) for purpose, x in (("keys", k), ("values", v)))
        return attention_of_last(q, k, v, window=window)

    def merge(self, mixer: nn.Module, o: Tensor, gate: Tensor) -> Tensor:
        weight = cast("SoftmaxWeights", mixer).softmax_norm.weight
        return branch_merge(o, None, weight, None, None, gate, eps=NORM_EPS)

    def memory(self, mixer: nn.Module, chunk_size: int) -> Memory:
        return SoftmaxMemory(chunk_size)

    def weights(self, a: Architecture) -> int:
        norms = a.linear_heads * (2 * a.key_dim + a.value_dim) // a.softmax_heads
        return norms + (a.softmax_heads if a.log_n else 0)

    def kv_bytes(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        keys, per_key = self._keys(a, chunk_size, context, routed), CACHE_BYTES * self.cached_channels(a)
        return CostLine(per_key * keys.base, per_key * keys.slope)

    def flops(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Count 2 (K + V) for each softmax head and visible key."""
        keys, per_key = self._keys(a, chunk_size, context, routed), 2 * a.linear_heads * (a.key_dim + a.value_dim)
        return CostLine(per_key * keys.base, per_key * keys.slope)

    def cached_channels(self, a: Architecture) -> int:
        """Return the number of channels of the keys and values of a token."""
        return a.linear_heads * (a.key_dim + a.value_dim)

    def _keys(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        """Return the number of keys that the last token sees; with a router, those of its own and kept chunks."""
        own = min(chunk_size, context)
        return CostLine(own, context - own) if routed else CostLine(context)


class SoftmaxMemory:
    """The KV cache of softmax attention. Dropped chunks free their pages."""

    def __init__(self, chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._cache: KVCache

    def prefill(self, heads: Heads, route: Tensor | None) -> Tensor:
        q, k, v = heads
        self._cache = decode.cache_of_prefill(k, v, route, chunk_size=self._chunk_size, dtype=operand_dtype(q, k, v))
        return chunk_softmax_attention(q, k, v, route, chunk_size=self._chunk_size)

    def step(self, heads: Heads) -> Tensor:
        q, k, v = (x.squeeze(1) for x in heads)
        o, self._cache = decode.chunk_softmax_attention_step(q, k, v, self._cache)
        return o.unsqueeze(1)

    def join(self, others: Sequence["SoftmaxMemory"]) -> None:
        self._cache = decode.join_caches([self._cache, *(other._cache for other in others)])

    def make_room(self, ending: int) -> None:
        """Enlarge the cache, if needed, for the ends of this number of chunks; see `BranchesState.make_room`."""
        self._cache = decode.make_room(self._cache, ending)

    def close(self, route: Tensor | None, ends: Ends | None = None) -> None:
        ending = None if ends is None else ends.sequences
        self._cache = decode.close_chunk(self._cache, route, ending=ending)

    @property
    def bytes_in_use(self) -> int:
        return decode.bytes_in_use(self._cache)

    @property
    def buffers(self) -> list[Tensor]:
        """The tensors that steps update in place; see `nas.models.operations.operation.Memory`."""
        return [x for x in self._cache if isinstance(x, Tensor)]
