"""The gated activation in PyTorch: the definition, and the CPU path."""

import torch.nn.functional as F
from torch import Tensor


def swiglu(x: Tensor) -> Tensor:
    """Compute `nas.kernels.swiglu` of valid arguments."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up
