"""The router: one logit per chunk, routing head and operation, from the mean of the chunk's tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OPERATIONS = 2
"""Number of operations between which a router chooses: the first keeps a chunk, the second compresses it."""

INITIAL_LEAN = 1.0
"""Initial margin of the first operation's logit over the second's, so that a search starts dense."""


class Router(nn.Module):
    """Mean-pooling over a chunk, then a linear layer: [B, T, width] to logits [B, N, R, 2] over two operations.

    Source: NAtS-L (Deng et al. 2026). Here the pooled vector is RMS-normalised first. A mean over many different tokens
    has a small norm, and the differences between chunks would be small beside the bias. All chunk sizes share weights.
    """

    def __init__(self, width: int, routing_heads: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, routing_heads * OPERATIONS)

    @torch.no_grad()
    def reset_bias(self) -> None:
        """Set the bias so that the first operation leads by `INITIAL_LEAN`."""
        lean = torch.tensor([0.5, -0.5]) * INITIAL_LEAN
        self.score.bias.copy_(lean.repeat(self.score.out_features // OPERATIONS))

    @torch.no_grad()
    def move_threshold(self, by: Tensor) -> None:
        """Raise the softmax margin from which chunks are kept by ``by``, a scalar tensor."""
        away = torch.stack([-by, by]) / 2
        self.score.bias.add_(away.repeat(self.score.out_features // OPERATIONS))

    @torch.no_grad()
    def lean_to_second(self) -> None:
        """Negate the bias, so that a search starts with the second operation alone."""
        self.score.bias.neg_()

    def forward(self, x: Tensor, chunk_size: int) -> Tensor:
        return self.logits(mean_pool(x, chunk_size))

    def logits(self, pooled: Tensor) -> Tensor:
        """Return logits [B, N, R, 2] for the means of chunks [B, N, width]."""
        scores: Tensor = self.score(F.rms_norm(pooled, pooled.shape[-1:]))
        return scores.unflatten(-1, (-1, OPERATIONS))


def mean_pool(x: Tensor, chunk_size: int) -> Tensor:
    """Return the mean of the tokens of each chunk, [B, T, D] to [B, N, D]. The last chunk may be short."""
    whole = x.shape[1] // chunk_size * chunk_size
    means = x[:, :whole].unflatten(1, (-1, chunk_size)).mean(2)
    if whole == x.shape[1]:
        return means
    return torch.cat([means, x[:, whole:].mean(1, keepdim=True)], dim=1)
