"""Trials of the addition and norm on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.residual_norm import reference, triton_op
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import LENGTHS, Draw


def residual_norm(device: torch.device, channels: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles."""

    def by(operation: Callable[..., tuple[Tensor, Tensor]]) -> Function:
        def run(x: Tensor, delta: Tensor, weight: Tensor) -> dict[str, Tensor]:
            total, y = operation(x, delta, weight, 1e-6)
            return {"total": total, "y": y}

        return run

    for length in LENGTHS:
        draw = Draw()
        inputs = {
            "x": draw.normal(1, length, channels),
            "delta": draw.normal(1, length, channels),
            "weight": 1 + draw.uniform(channels),
        }
        yield Trial(inputs, by(reference.residual_norm), by(triton_op.residual_norm))
