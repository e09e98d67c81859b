"""Results that the backward pass computes again instead of keeping them, so that training needs less memory.

Short convolutions and norms take little time, and their results are as large as their inputs, which are kept anyway.
Within `recomputing`, no operation keeps a result of `recomputable`. It keeps the call, whose results are computed again
when the backward pass first reads one of them. They are the same bits, and gradients do not change.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from nas.kernels.triton_operator import traced
from nas.models.recording import without_autocast_cache

LEAST_ELEMENTS = 2**23
"""Fewest elements of a large input of a layer: 8192 tokens of width 1024. Smaller layers need little memory, and a
further kernel takes them longer to start than to run."""

P = ParamSpec("P")
R = TypeVar("R")


class _Call:
    """A call whose results can be computed again, once and when they are needed.

    Args:
        function: function that returns a tensor, or a tuple of tensors and None.
        args: its arguments; a tensor, or a `_Result` in its place.
        options: its further arguments.
        autocast: autocast of the first computation.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], autocast: torch.autocast
    ) -> None:
        self._given: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], torch.autocast] | None
        self._given = function, args, options, autocast
        self._results: tuple[Tensor | None, ...] = ()

    def result(self, index: int) -> Tensor:
        """Return a result by its index."""
        if self._given is not None:
            function, args, options, autocast = self._given
            inputs = [x.tensor() if isinstance(x, _Result) else x for x in args]
            with torch.no_grad(), autocast:
                self._results = _as_tuple(function(*inputs, **options))
            self._given = None  # the inputs are no longer needed
        found = self._results[index]
        assert found is not None
        return found


@dataclass(frozen=True)
class _Result:
    """A tensor with the memory of a result: the call, the index of the result, and the position in that memory."""

    call: _Call
    index: int
    size: torch.Size
    stride: tuple[int, ...]
    offset: int | torch.SymInt

    def tensor(self) -> Tensor:
        """Return the tensor; computes the result the first time."""
        return self.call.result(self.index).as_strided(self.size, self.stride, self.offset)


class _Region:
    """The results that can be computed again, by the address of their memory."""

    def __init__(self, device: str) -> None:
        self._autocast = without_autocast_cache(device)
        self._results: dict[int, tuple[Tensor, _Call, int]] = {}
        """The entries hold the tensors, so that no other tensor gets their memory until `forget`."""

    def note(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], outputs: object
    ) -> None:
        """Remember how the outputs of a call were computed."""
        kept = tuple(self.pack(x) if isinstance(x, Tensor) else x for x in args)
        call = _Call(function, kept, options, self._autocast)
        for index, output in enumerate(_as_tuple(outputs)):
            if output is not None:
                self._results[output.untyped_storage().data_ptr()] = output, call, index

    def forget(self) -> None:
        """Release the results: autograd refers to the region as long as to what it packed."""
        self._results.clear()

    def pack(self, x: Tensor) -> Tensor | _Result:
        """Return what an operation keeps of a tensor."""
        result, call, index = self._results.get(x.untyped_storage().data_ptr(), (None, None, 0))
        if result is None or call is None or result.dtype != x.dtype:
            return x.detach()
        return _Result(call, index, x.shape, x.stride(), x.storage_offset())


def _unpack(kept: Tensor | _Result) -> Tensor:
    return kept.tensor() if isinstance(kept, _Result) else kept


def _as_tuple(outputs: Any) -> tuple[Tensor | None, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


_region: ContextVar[_Region | None] = ContextVar("region", default=None)
_kept_whole: ContextVar[bool] = ContextVar("kept_whole", default=False)


def recomputable(function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """Call a function whose results the backward pass may compute again.

    Args:
        function: function that returns new tensors and reads no other tensors than its positional arguments. It draws
            no random numbers.
        args, options: its arguments.
    """
    outputs = function(*args, **options)
    if not traced() and (region := _region.get()) is not None:
        region.note(function, args, options, outputs)
    return outputs


@contextmanager
def recomputing(x: Tensor) -> Iterator[None]:
    """Keep no result of `recomputable` for the backward pass, if the input x of the layer is large and on a GPU.

    This has no effect where a compiler or a dispatch mode traces the layer.
    """
    if traced() or not large_on_gpu(x) or not torch.is_grad_enabled() or _kept_whole.get():
        yield
        return
    region = _Region(x.device.type)
    token = _region.set(region)
    try:
        with saved_tensors_hooks(region.pack, _unpack):
            yield
    finally:
        _region.reset(token)
        region.forget()


def large_on_gpu(x: Tensor) -> bool:
    """Return whether the input x of a layer is large and on a GPU."""
    return x.is_cuda and x.numel() >= LEAST_ELEMENTS


@contextmanager
def without_recomputing() -> Iterator[None]:
    """Let `recomputing` have no effect: for layers that are computed twice as a whole."""
    token = _kept_whole.set(True)
    try:
        yield
    finally:
        _kept_whole.reset(token)
