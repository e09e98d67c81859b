"""A second CUDA stream beside the current one, with priority over it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority=-1)


class Side:
    """Work on a side stream that starts after the current stream's work so far; `join` waits for it.

    Memory that the side stream allocates is reused there only once the current stream has passed the next creation of a
    `Side`. On the CPU all work runs in order.
    """

    def __init__(self, device: torch.device) -> None:
        self._streams = (torch.cuda.current_stream(device), _side_stream(device)) if device.type == "cuda" else None
        self.follow()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Run the work of the block on the side stream; it must not wait for the GPU."""
        with nullcontext() if self._streams is None else torch.cuda.stream(self._streams[1]):
            yield

    def follow(self) -> None:
        """Make further work of the side stream wait for the work launched on the current stream so far."""
        if self._streams is not None:
            current, side = self._streams
            side.wait_stream(current)

    def join(self, *results: Tensor) -> None:
        """Make the current stream wait for the side stream; ``results`` are the side's tensors that it will read."""
        if self._streams is None:
            return
        current, side = self._streams
        current.wait_stream(side)
        if not torch.cuda.is_current_stream_capturing():  # a graph is ordered already
            for result in results:
                result.record_stream(current)
