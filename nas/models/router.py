"""The router: one logit per chunk, routing head and operation, from pooled tokens of the chunk."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.documents import Chunks, Documents

FeatureGrad = Literal["full", "none"]

OPERATIONS = 2
"""Number of operations between which a router chooses: the first keeps a chunk, the second compresses it."""

INITIAL_LEAN = 1.0
"""Initial margin of the first operation's logit over the second's, so that a search starts dense."""


class Router(nn.Module):
    """Pooling over a chunk, then a linear layer: [B, T, width] to logits [B, N, R, 2] over two operations.

    Source: NAtS-L (Deng et al. 2026), with the mean. Here pooled vectors are RMS-normalised first, each by itself. A
    mean over many different tokens has a small norm, and the differences between chunks would be small beside the bias.
    A single token in a chunk changes the largest value of a channel more than the mean. All chunk sizes share weights.

    Args:
        width: size of a token's vector.
        routing_heads: routing heads of the layer.
        features: what is pooled, of `nas.search_spaces.architecture.ROUTER_FEATURES`.
    """

    feature_grad: FeatureGrad = "full"
    """Gradient of the pooled vectors: "full", or "none", so that the router alone learns to route."""

    def __init__(self, width: int, routing_heads: int, features: Sequence[str] = ("mean",)) -> None:
        super().__init__()
        self.features = tuple(features)
        self.score = nn.Linear(len(self.features) * width, routing_heads * OPERATIONS)

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

    def forward(self, x: Tensor, chunk_size: int, documents: Documents | None = None) -> Tensor:
        if documents is None:
            return self.logits([POOLED[feature](x, chunk_size) for feature in self.features])
        chunks = documents.chunks(chunk_size)
        return self.logits([POOLED_BY_DOCUMENT[feature](x[0], chunks)[None] for feature in self.features])

    def logits(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return logits [B, N, R, 2] for the pooled vectors [B, N, width] of chunks, one for each feature."""
        if self.feature_grad == "none":
            pooled = [one.detach() for one in pooled]
        normalised = [F.rms_norm(one, one.shape[-1:]) for one in pooled]
        scores: Tensor = self.score(normalised[0] if len(normalised) == 1 else torch.cat(normalised, dim=-1))
        return scores.unflatten(-1, (-1, OPERATIONS))


def mean_pool(x: Tensor, chunk_size: int) -> Tensor:
    """Return the mean of the tokens of each chunk, [B, T, D] to [B, N, D]. The last chunk may be short."""
    return _pool(x, chunk_size, torch.mean)


def max_pool(x: Tensor, chunk_size: int) -> Tensor:
    """Return the largest value of each channel in each chunk, [B, T, D] to [B, N, D]. The last chunk may be short."""
    return _pool(x, chunk_size, torch.amax)


def _pool(x: Tensor, chunk_size: int, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return the tokens of each chunk, reduced over the dimension that ``reduce`` gets."""
    whole = x.shape[1] // chunk_size * chunk_size
    pooled = reduce(x[:, :whole].unflatten(1, (-1, chunk_size)), 2)
    if whole == x.shape[1]:
        return pooled
    return torch.cat([pooled, reduce(x[:, whole:], 1)[:, None]], dim=1)


def last_tokens(x: Tensor, chunk_size: int) -> Tensor:
    """Return the last token of each chunk, [B, T, D] to [B, N, D]. The last chunk may be short."""
    last = x[:, chunk_size - 1 :: chunk_size]
    return last if x.shape[1] % chunk_size == 0 else torch.cat([last, x[:, -1:]], dim=1)


POOLED = {"mean": mean_pool, "max": max_pool, "last": last_tokens}
"""How each feature is pooled."""


def _mean_of(x: Tensor, chunks: Chunks) -> Tensor:
    own = chunks.of(x).masked_fill(~chunks.inside[..., None], 0.0)
    return own.sum(1) / chunks.tokens[:, None]


POOLED_BY_DOCUMENT: dict[str, Callable[[Tensor, Chunks], Tensor]] = {
    "mean": _mean_of,
    "max": lambda x, chunks: chunks.of(x).masked_fill(~chunks.inside[..., None], -torch.inf).amax(1),
    "last": lambda x, chunks: x.index_select(0, chunks.last),
}
"""How each feature is pooled over the chunks of packed documents, from tokens [B * T, D] to [N, D]."""
