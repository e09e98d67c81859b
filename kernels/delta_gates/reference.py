"""Decay and write strength in PyTorch: the definition, and the CPU path."""

import torch.nn.functional as F
from torch import Tensor


def delta_gates(
    decay: Tensor, write: Tensor, log_rate: Tensor, bias: Tensor, strongest: float
) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.delta_gates` of valid arguments."""
    g = -log_rate.exp() * F.softplus(decay + bias)
    beta = write.sigmoid()
    return g, beta if strongest == 1 else strongest * beta
