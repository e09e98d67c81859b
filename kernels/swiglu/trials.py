"""Trials of the gated activation on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Iterator

import torch

from nas.kernels.self_test import Trial
from nas.kernels.swiglu import reference, triton_op
from nas.kernels.trials import LENGTHS, Draw


def swiglu(device: torch.device, hidden: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles."""
    for length in LENGTHS:
        inputs = {"x": Draw().normal(1, length, 2 * hidden)}
        yield Trial(inputs, lambda x: {"y": reference.swiglu(x)}, lambda x: {"y": triton_op.swiglu(x)})
