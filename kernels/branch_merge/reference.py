"""Merge of the branches in PyTorch: the definition, and the CPU path."""

import torch
import torch.nn.functional as F
from torch import Tensor


def branch_merge(
    softmax_o: Tensor | None,
    linear_o: Tensor | None,
    softmax_weight: Tensor | None,
    linear_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    eps: float,
) -> Tensor:
    """Compute `nas.kernels.branch_merge` of valid arguments."""
    branches = [
        _norm(o, weight, eps)
        for o, weight in ((softmax_o, softmax_weight), (linear_o, linear_weight))
        if o is not None and weight is not None
    ]
    if scores is None:
        merged = branches[0]
    else:
        share = scores.unflatten(-1, (-1, 1, 2)).softmax(-1)  # [B, T, softmax heads, 1, 2]
        merged = (torch.stack(branches, dim=-1) * share).sum(-1)
    return merged.flatten(-2) * F.silu(gate)


def _norm(o: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(o.flatten(-2).unflatten(-1, (-1, weight.shape[0])), weight.shape, weight, eps)
