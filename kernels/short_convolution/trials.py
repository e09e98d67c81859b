"""Trials of the short convolution on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.self_test import Function, Trial
from nas.kernels.short_convolution import reference, triton_op
from nas.kernels.trials import LENGTHS, Draw


def short_convolution(device: torch.device, channels: int, size: int, packed: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles; ``packed`` has two documents."""

    def by(operation: Callable[..., Tensor]) -> Function:
        return lambda x, weight: {"y": operation(x, weight, borders)}

    for length in LENGTHS:
        borders = [0, length // 3, length] if packed else None
        draw = Draw()
        inputs = {"x": draw.normal(1, length, channels), "weight": draw.normal(channels, size)}
        yield Trial(inputs, by(reference.short_convolution), by(triton_op.short_convolution))
