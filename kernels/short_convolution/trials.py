"""Trials of the short convolution on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.self_test import Function, Trial
from nas.kernels.short_convolution import decode, reference, triton_decode, triton_op
from nas.kernels.trials import LENGTHS, Draw


def short_convolution(device: torch.device, channels: int, size: int, packed: int, heads: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles; ``packed`` has two documents, and 0 heads mean no norm."""

    def by(operation: Callable[..., Tensor]) -> Function:
        return lambda x, weight: {"y": operation(x, weight, borders, heads or None)}

    for length in LENGTHS:
        borders = [0, length // 3, length] if packed else None
        draw = Draw()
        inputs = {"x": draw.normal(1, length, channels), "weight": draw.normal(channels, size)}
        yield Trial(inputs, by(reference.short_convolution), by(triton_op.short_convolution))


def short_convolution_step(device: torch.device, channels: int, size: int) -> Iterator[Trial]:
    """Yield one token of two sequences."""

    def by(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
        @torch.no_grad()
        def run(x: Tensor, past: Tensor, weight: Tensor) -> dict[str, Tensor]:
            moved = past.clone()
            return {"y": step(x, moved, weight), "the last inputs": moved}

        return run

    draw = Draw()
    inputs = {"x": draw.normal(2, channels), "past": draw.normal(2, size - 1, channels)}
    inputs["weight"] = draw.normal(channels, size)
    yield Trial(inputs, by(decode.reference_step), by(triton_decode.step))
