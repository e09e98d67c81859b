"""Trials of decay and write strength on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.delta_gates import reference, triton_op
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import LENGTHS, Draw


def delta_gates(device: torch.device, heads: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles, each with and without the bias of write."""

    def by(operation: Callable[..., tuple[Tensor, Tensor]]) -> Function:
        def run(write_bias: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
            g, beta = operation(**inputs, write_bias=write_bias, strongest=2.0)
            return {"g": g, "beta": beta}

        return run

    for length in LENGTHS:
        draw = Draw()
        inputs = {
            "decay": draw.normal(1, length, heads),
            "write": draw.normal(1, length, heads),
            "log_rate": -draw.uniform(heads),
            "decay_bias": -4 * draw.uniform(heads),
        }
        biased = inputs | {"write_bias": draw.normal(heads)}
        for given in (inputs, biased):
            yield Trial(given, by(reference.delta_gates), by(triton_op.delta_gates))
