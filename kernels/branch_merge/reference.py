"""Merge of the branches in PyTorch: the definition, and the CPU path."""

from collections.abc import Sequence

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
    mixture: Tensor | None,
    eps: float,
) -> Tensor:
    """Compute `nas.kernels.branch_merge` of valid arguments."""
    branches = [
        _norm(o, weight, eps)
        for o, weight in ((softmax_o, softmax_weight), (linear_o, linear_weight))
        if o is not None and weight is not None
    ]
    if mixture is not None:
        assert scores is not None
        gated = [branch.flatten(-2) * F.silu(gate) for branch in branches]
        return mix(gated, scores, branches[0].shape[-1], mixture.unbind())
    if scores is None:
        merged = branches[0]
    else:
        share = scores.unflatten(-1, (-1, 1, 2)).softmax(-1)  # [B, T, softmax heads, 1, 2]
        merged = (torch.stack(branches, dim=-1) * share).sum(-1)
    return merged.flatten(-2) * F.silu(gate)


def mix(gated: Sequence[Tensor], scores: Tensor, value_dim: int, mixture: Sequence[Tensor]) -> Tensor:
    """Weigh two branches in a mixture.

    Args:
        gated: normalised and gated outputs of both branches, [B, T, channels] each.
        scores: [B, T, 2 * softmax heads], scores of the branches.
        value_dim: channels of a softmax head.
        mixture: weights of the first branch alone, of the second alone, and of both, each a scalar.
    """
    first, second, hybrid = mixture
    shares = scores.unflatten(-1, (-1, 2)).softmax(-1)  # [B, T, softmax heads, 2]
    by_first, by_second = (hybrid * shares).repeat_interleave(value_dim, dim=-2).unbind(-1)
    return (first + by_first) * gated[0] + (second + by_second) * gated[1]


def _norm(o: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(o.flatten(-2).unflatten(-1, (-1, weight.shape[0])), weight.shape, weight, eps)
