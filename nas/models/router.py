"""The router: one score per chunk, routing head and operation, from the mean of the chunk's tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OPERATIONS = 2
"""Operations between which a router chooses: the first keeps a chunk, the second compresses it."""

INITIAL_LEAN = 1.0
"""How much larger the logit of the first operation is at the start, so that a search starts dense."""


class Router(nn.Module):
    """Mean-pool, then a linear layer: [B, T, width] to logits [B, N, R, 2] over the two operations of its layer.

    Source: NAtS-L (Deng et al. 2026). The pooled vector is RMS-normalised first: a mean over many different tokens is
    short, and what tells chunks apart in it would weigh little beside the bias. Its weights serve every chunk size.
    """

    def __init__(self, width: int, routing_heads: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, routing_heads * OPERATIONS)

    @torch.no_grad()
    def reset_bias(self) -> None:
        """Lean towards the first operation by INITIAL_LEAN."""
        lean = torch.tensor([0.5, -0.5]) * INITIAL_LEAN
        self.score.bias.copy_(lean.repeat(self.score.out_features // OPERATIONS))

    @torch.no_grad()
    def move_threshold(self, by: Tensor) -> None:
        """Raise the margin that the first operation needs by a number."""
        away = torch.stack([-by, by]) / 2
        self.score.bias.add_(away.repeat(self.score.out_features // OPERATIONS))

    @torch.no_grad()
    def lean_to_second(self) -> None:
        """Reverse `reset_bias`, so that a search starts with the second operation alone."""
        self.score.bias.neg_()

    def forward(self, x: Tensor, chunk_size: int) -> Tensor:
        return self.logits(mean_pool(x, chunk_size))

    def logits(self, pooled: Tensor) -> Tensor:
        """[B, N, R, 2] of the means of chunks, [B, N, width]."""
        scores: Tensor = self.score(F.rms_norm(pooled, pooled.shape[-1:]))
        return scores.unflatten(-1, (-1, OPERATIONS))


def mean_pool(x: Tensor, chunk_size: int) -> Tensor:
    """Mean over each chunk's own tokens: [B, T, D] to [B, N, D]; a short last chunk is averaged over what it has."""
    whole = x.shape[1] // chunk_size * chunk_size
    means = x[:, :whole].unflatten(1, (-1, chunk_size)).mean(2)
    if whole == x.shape[1]:
        return means
    return torch.cat([means, x[:, whole:].mean(1, keepdim=True)], dim=1)
