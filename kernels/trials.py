"""Random inputs of the trials with which operations are tested on a new GPU (see `nas.kernels.self_test`)."""

import torch
from torch import Tensor


class Draw:
    """Draws float64 tensors on the CPU, the same ones every time, whatever the state of torch's generators."""

    def __init__(self) -> None:
        self._random = torch.Generator().manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        """Return normally distributed values."""
        return torch.randn(shape, generator=self._random, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        """Return values from 0 to 1."""
        return torch.rand(shape, generator=self._random, dtype=torch.float64)

    def route(self, *shape: int) -> Tensor:
        """Return a route [B, N, R] of zeros, ones and fractions."""
        return self.uniform(*shape).mul_(3).sub_(1).clamp_(0, 1)


LENGTHS = (37, 64)
"""Tokens of the trials of element-wise operations: ragged, and whole tiles."""
