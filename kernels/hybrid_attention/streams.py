"""A second stream of work on one GPU, beside the current one and before it where both could go on."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority=-1)


class Side:
    """Work that begins when the current stream has come to where this is made, and that `join` waits for.

    Memory that the side stream allocates is used again there only after the current stream has passed the next
    beginning. On the CPU all work is done in order.
    """

    def __init__(self, device: torch.device) -> None:
        self._streams = (torch.cuda.current_stream(device), _side_stream(device)) if device.type == "cuda" else None
        self.follow()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """What is computed within goes to the side stream; it must not wait for the GPU."""
        with nullcontext() if self._streams is None else torch.cuda.stream(self._streams[1]):
            yield

    def follow(self) -> None:
        """Let what the side does from now on wait for what the current stream has been given so far."""
        if self._streams is not None:
            current, side = self._streams
            side.wait_stream(current)

    def join(self, *results: Tensor) -> None:
        """Let the current stream go on when the side is done; ``results`` are what it reads of the side's tensors."""
        if self._streams is None:
            return
        current, side = self._streams
        current.wait_stream(side)
        if not torch.cuda.is_current_stream_capturing():  # a graph has one beginning, and so an order already
            for result in results:
                result.record_stream(current)
