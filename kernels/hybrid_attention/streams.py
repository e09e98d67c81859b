"""Runs two computations beside each other on one GPU."""

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def beside(
    first: Callable[[], Tensor], second: Callable[[], Tensor], inputs: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """Results of both, the first on a side stream that begins and ends with what the current stream does.

    Autograd runs each backward pass on the stream of its forward pass. Memory that the side stream allocates is used
    again there only after the current stream has passed the next beginning.

    Args:
        first, second: what to compute, without waiting for the GPU.
        inputs: tensors that ``first`` reads, so that their memory is not used again before it is done with them.
    """
    inputs = list(inputs)
    device = inputs[0].device
    current, side = torch.cuda.current_stream(device), _side_stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        a = first()
    b = second()
    for tensor in inputs:
        tensor.record_stream(side)
    current.wait_stream(side)
    a.record_stream(current)
    return a, b
