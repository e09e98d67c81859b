"""The parts of a block that do not choose anything: short convolution, SwiGLU, and the norm they share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.kernels.short_convolution import short_convolution
from nas.kernels.swiglu import swiglu

NORM_EPS = 1e-6


def rms_norm(size: int) -> nn.RMSNorm:
    """The model's RMSNorm over the last dimension (Zhang & Sennrich 2019)."""
    return nn.RMSNorm(size, eps=NORM_EPS)


class ShortConvolution(nn.Module):
    """Causal depthwise convolution over time, then SiLU: [B, T, D] to [B, T, D]."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, kernel_size, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return short_convolution(x, self.convolution.weight.squeeze(1))

    def after(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same for tokens that come after others.

        Args:
            x: [B, T, D].
            past: [B, kernel_size - 1, D], the last inputs before x; None where x is the beginning.

        Returns:
            Outputs [B, T, D], and the last inputs for those who come after.
        """
        size, length = self.convolution.kernel_size[0] - 1, x.shape[1]
        if past is None:
            return self(x), F.pad(x[:, max(0, length - size) :], (0, 0, max(0, size - length), 0))
        seen = torch.cat([past, x], dim=1)
        return self(seen)[:, size:].contiguous(), seen[:, length:].clone()


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020): [B, T, width] to [B, T, width]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_and_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(swiglu(self.gate_and_up(x)))
