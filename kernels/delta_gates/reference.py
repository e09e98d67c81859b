"""Decay and write strength in PyTorch: the definition, and the CPU path."""

import torch.nn.functional as F
from torch import Tensor


def delta_gates(
    decay: Tensor, write: Tensor, log_rate: Tensor, decay_bias: Tensor, write_bias: Tensor | None, strongest: float
) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.delta_gates` of valid arguments."""
    g = -log_rate.exp() * F.softplus(decay + decay_bias)
    beta = (write if write_bias is None else write + write_bias).sigmoid()
    return g, beta if strongest == 1 else strongest * beta
