"""Policies: how router logits become routes."""

import torch
from torch import Tensor

from nas.models.mixers import Policy
from nas.relaxations import argmax_ste
from nas.search_spaces.architecture import Architecture

ROUNDING = 1e-4
"""How much of a chunk is none where shares are added up: 10 times 0.1 is 1, also in float32."""


def learnt(layer: int, logits: Tensor) -> Tensor:
    """The routing that was learnt: each chunk gets the operation with the larger logit."""
    return argmax_ste(logits, 1.0)


def keep_all(layer: int, logits: Tensor) -> Tensor:
    """Every chunk gets the first operation of its layer, which keeps it."""
    return _hard(torch.ones_like(logits[..., 0], dtype=torch.bool), logits)


def drop_all(layer: int, logits: Tensor) -> Tensor:
    """Every chunk gets the second operation of its layer, which compresses it."""
    return _hard(torch.zeros_like(logits[..., 0], dtype=torch.bool), logits)


def both(layer: int, logits: Tensor) -> Tensor:
    """Every chunk gets both operations of its layer: weights of 1 and 1."""
    return torch.ones_like(logits)


def at_random(shares: dict[int, list[float]], generator: torch.Generator) -> Policy:
    """Softmax at random, as often in each layer and routing head as ``shares`` says."""
    return lambda layer, logits: randomly(torch.tensor(shares[layer]), generator)(layer, logits)


def randomly(share: float | Tensor, generator: torch.Generator | None = None) -> Policy:
    """Softmax at random, for this share of the chunks: everywhere the same, or [R] by routing head."""

    def policy(layer: int, logits: Tensor) -> Tensor:
        device = logits.device if generator is None else generator.device
        return _hard(torch.rand(logits.shape[:-1], generator=generator, device=device) < share, logits)

    return policy


def strided(share: float | Tensor) -> Policy:
    """Softmax at fixed positions, the same in every layer and head: every 1/share-th chunk.

    Chunk n of a sequence is kept where floor((n + 1) * share) > floor(n * share).
    """

    def policy(layer: int, logits: Tensor) -> Tensor:
        chunks = torch.arange(logits.shape[1] + 1, device=logits.device)
        to_softmax = (chunks * share + ROUNDING).floor().diff() > 0
        return _hard(to_softmax[:, None].expand(logits.shape[:-1]), logits)

    return policy


def _hard(to_softmax: Tensor, logits: Tensor) -> Tensor:
    """One-hot weights like ``logits`` [B, N, R, 2] of what goes to softmax, bool [B, N, R]."""
    return torch.stack([to_softmax, ~to_softmax], dim=-1).to(logits)


def policy_of(
    architecture: Architecture, share: float | Tensor | None = None, generator: torch.Generator | None = None
) -> Policy:
    """How the chunks of an architecture are routed: as its routers learnt to, or as it is given.

    Args:
        architecture: whose routing it is.
        share: of softmax chunks of a given routing, in place of the architecture's own.
        generator: of what is drawn at random; PyTorch's own by default.
    """
    if architecture.given_routing is None:
        return learnt
    share = architecture.given_share if share is None else share
    assert share is not None
    return strided(share) if architecture.given_routing == "strided" else randomly(share, generator)
