"""Sliding-window softmax attention: each token attends to the last w tokens, itself included."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nas.distributed.context.group import Context
from nas.kernels import chunk_softmax_attention
from nas.kernels.arguments import RouteGrad
from nas.kernels.chunk_softmax_attention import window_decode
from nas.kernels.chunk_softmax_attention.window_decode import WindowCache
from nas.kernels.triton_support import operand_dtype
from nas.models.operations.operation import CostLine, Ends, Heads, Look, Memory
from nas.models.operations.softmax import Softmax, SoftmaxWeights
from nas.search_spaces.architecture import Architecture


class Window(Softmax):
    """Softmax attention over the last ``architecture.window`` tokens. It shares the norms of `Softmax`."""

    name = "window"
    look = Look("hybrid2", "#CC79A7", "w")
    keeps_all = False

    def most_keys(self, a: Architecture) -> float:
        return a.window

    def attend(
        self,
        mixer: nn.Module,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        window = cast("SoftmaxWeights", mixer).architecture.window
        q, k, v = heads
        return chunk_softmax_attention(q, k, v, route, chunk_size=chunk_size, window=window, cu_seqlens=cu_seqlens)

    def attend_across(
        self,
        mixer: nn.Module,
        context: Context,
        heads: Heads,
        chunk_size: int,
        route: Tensor | None = None,
        route_grad: RouteGrad = "full",
    ) -> Tensor:
        """Attend to the window, which may begin in an earlier stretch."""
        window = cast("SoftmaxWeights", mixer).architecture.window
        return self._attend_to_last(context, heads, window - 1, window)

    def memory(self, mixer: nn.Module, chunk_size: int) -> Memory:
        return WindowMemory(cast("SoftmaxWeights", mixer).architecture.window)

    def _keys(self, a: Architecture, chunk_size: int, context: int, routed: bool) -> CostLine:
        return CostLine(min(a.window, context))


class WindowMemory:
    """The decoding state of a window: keys and values of the last ``window`` tokens."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._cache: WindowCache

    def prefill(self, heads: Heads, route: Tensor | None) -> Tensor:
        q, k, v = heads
        dtype = operand_dtype(q, k, v)
        self._cache = window_decode.window_cache_of_prefill(k, v, window=self._window, dtype=dtype)
        return chunk_softmax_attention(q, k, v, route, window=self._window)

    def step(self, heads: Heads) -> Tensor:
        q, k, v = (x.squeeze(1) for x in heads)
        o, self._cache = window_decode.window_attention_step(q, k, v, self._cache)
        return o.unsqueeze(1)

    def join(self, others: Sequence["WindowMemory"]) -> None:
        caches = [self._cache, *(other._cache for other in others)]
        self._cache = WindowCache(*(torch.cat(buffers) for buffers in zip(*caches, strict=True)))

    def close(self, route: Tensor | None, ends: Ends | None = None) -> None:
        """Do nothing: a window does not depend on chunks."""

    @property
    def bytes_in_use(self) -> int:
        return window_decode.bytes_in_use(self._cache)

    @property
    def buffers(self) -> list[Tensor]:
        """The tensors that steps update in place; see `nas.models.operations.operation.Memory`."""
        return [x for x in self._cache if isinstance(x, Tensor)]
