"""Recording of CUDA graphs: kernels that are launched together, in fixed memory."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

Replay = Callable[[], None]
"""Launches the kernels of a graph."""


def without_autocast_cache(device: str) -> torch.autocast:
    """Return the present autocast of a type of device without its cache: each replay must cast the weights again."""
    enabled = torch.is_autocast_enabled(device)
    return torch.autocast(device, torch.get_autocast_dtype(device), enabled=enabled, cache_enabled=False)


def reason_of(error: BaseException) -> str:
    """Return the first line of the first error: the end of a failed recording raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0] or type(error).__name__


def end_recording(device: torch.device, current: torch.cuda.Stream, pool: Any) -> None:
    """End a failed recording, which PyTorch otherwise treats as still running on its stream (pytorch#171263).

    Args:
        device: device of the recording.
        current: stream to return to.
        pool: memory of the recording.
    """
    torch.cuda.set_stream(current)
    with suppress(Exception):
        torch._C._cuda_endAllocateToPool(device.index, pool)
    with suppress(Exception):
        state = torch.Generator(device).graphsafe_get_state()
        torch.cuda.default_generators[device.index].graphsafe_set_state(state)
    with suppress(Exception):
        torch.cuda.synchronize(device)


class _Precision(NamedTuple):
    """The autocast that a step was recorded under."""

    enabled: bool
    dtype: torch.dtype

    @classmethod
    def now(cls, device: str) -> "_Precision":
        return cls(torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))


Advance = Callable[[Tensor], Tensor]
"""Maps token ids [B] to logits [B, vocab], and updates decoding states in place."""


class StepGraph:
    """A decoding step as a CUDA graph: one launch in place of hundreds, for which the GPU would wait.

    Args:
        advance: the step, which does not wait for the GPU. It must have run before: recording does not run it.
        token: [B] token ids of a step.
    """

    def __init__(self, advance: Advance, token: Tensor) -> None:
        device = token.device
        self._token = token.clone()
        self._precision = _Precision.now(device.type)
        self._graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        current, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        try:
            with torch.cuda.graph(self._graph, pool=pool, stream=stream), without_autocast_cache(device.type):
                self._logits = advance(self._token)
        except BaseException:
            end_recording(device, current, pool)
            raise

    def fits(self, token: Tensor) -> bool:
        """Return whether the graph was recorded for such ids, under the present autocast."""
        same = token.shape == self._token.shape and token.device == self._token.device
        return same and self._precision == _Precision.now(token.device.type)

    def __call__(self, token: Tensor) -> Tensor:
        """Run the step; returns logits [B, vocab]."""
        self._token.copy_(token)
        self._graph.replay()
        return self._logits.clone()
