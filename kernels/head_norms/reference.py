"""Both norms of heads in PyTorch: the definition, and the CPU path."""

import torch.nn.functional as F
from torch import Tensor

Norms = tuple[Tensor | None, Tensor | None]
"""l2 and rms; None for a branch that is not computed."""


def head_norms(
    x: Tensor, weight: Tensor | None, linear_heads: int | None, softmax_heads: int | None, eps: float
) -> Norms:
    """Compute `nas.kernels.head_norms` of valid arguments."""
    l2 = rms = None
    if softmax_heads is not None:
        heads = x.unflatten(-1, (softmax_heads, -1))
        rms = F.rms_norm(heads, heads.shape[-1:], weight, eps)
    if linear_heads is not None:
        l2 = F.normalize(x.unflatten(-1, (linear_heads, -1)), dim=-1)
    return l2, rms
