"""The router: one score per chunk, routing head and operation, from the mean of the chunk's tokens."""

import torch
from torch import Tensor, nn

from kernels.arguments import num_chunks

OPERATIONS = ("softmax", "linear")
"""The operations in the order of the logits' last dimension."""


def mean_pool(x: Tensor, chunk_size: int) -> Tensor:
    """Mean over each chunk's own tokens: [B, T, D] to [B, N, D]; a short last chunk is averaged over what it has."""
    length = x.shape[1]
    whole = length // chunk_size * chunk_size
    means = x[:, :whole].unflatten(1, (-1, chunk_size)).mean(2)
    if whole == length:
        return means
    return torch.cat([means, x[:, whole:].mean(1, keepdim=True)], dim=1)


class Router(nn.Module):
    """Mean-pool, then a linear layer: [B, T, width] to logits [B, N, R, 2] over `OPERATIONS`.

    Source: NAtS-L (Deng et al. 2026). The bias starts on the side of softmax, so that a search starts dense.
    """

    def __init__(self, width: int, routing_heads: int, chunk_size: int, initial_bias: float = 1.0) -> None:
        super().__init__()
        self.chunk_size = chunk_size
        self.score = nn.Linear(width, routing_heads * len(OPERATIONS))
        self.initial_bias = initial_bias

    def reset_bias(self) -> None:
        """Start on the side of softmax: its logits at +bias / 2, those of linear at -bias / 2."""
        nn.init.zeros_(self.score.bias)
        with torch.no_grad():
            self.score.bias.unflatten(0, (-1, 2)).add_(torch.tensor([0.5, -0.5]) * self.initial_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(mean_pool(x, self.chunk_size)).unflatten(-1, (-1, len(OPERATIONS)))


__all__ = ["OPERATIONS", "Router", "mean_pool", "num_chunks"]
