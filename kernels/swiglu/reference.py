"""The gated activation in PyTorch: the definition, and the CPU path."""

import torch.nn.functional as F
from torch import Tensor


def swiglu(x: Tensor) -> Tensor:
    """See `nas.kernels.swiglu`; arguments are valid here. Shapes as there."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up
