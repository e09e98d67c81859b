"""Trials of the norms of heads on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nas.kernels.head_norms import reference, triton_op
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import LENGTHS, Draw


def head_norms(device: torch.device, channels: int, linear_heads: int, softmax_heads: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles; 0 heads mean that a branch is not computed."""

    def by(operation: Callable[..., Any]) -> Function:
        def run(x: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
            l2, rms = operation(x, weight, linear_heads or None, softmax_heads or None, 1e-6)
            return {name: y for name, y in (("l2", l2), ("rms", rms)) if y is not None}

        return run

    for length in LENGTHS:
        draw = Draw()
        inputs = {"x": draw.normal(1, length, channels)}
        if softmax_heads:
            inputs["weight"] = 1 + draw.uniform(channels // softmax_heads)
        yield Trial(inputs, by(reference.head_norms), by(triton_op.head_norms))
