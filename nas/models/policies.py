"""Policies: how router logits become routes."""

import torch
from torch import Tensor

from nas.models.routing import Policy
from nas.relaxations import argmax_ste, precise
from nas.search_spaces.architecture import Architecture

ROUNDING = 1e-4
"""Tolerance on sums of shares, in chunks, so that 10 times 0.1 is 1 in float32 as well."""


def learnt(layer: int, logits: Tensor) -> Tensor:
    """Follow the router: each chunk gets the operation with the larger logit."""
    return argmax_ste(logits, 1.0)


def at_threshold(threshold: float) -> Policy:
    """Return a policy that keeps the chunks whose softmax margin is at least a threshold; 0 keeps those of `learnt`."""

    def policy(layer: int, logits: Tensor) -> Tensor:
        kept, dropped = precise(logits).unbind(-1)
        return _hard(kept - dropped >= threshold, logits)

    return policy


def keep_all(layer: int, logits: Tensor) -> Tensor:
    """Keep every chunk: it gets the first operation of its layer."""
    return _hard(torch.ones_like(logits[..., 0], dtype=torch.bool), logits)


def drop_all(layer: int, logits: Tensor) -> Tensor:
    """Drop every chunk: it gets the second operation of its layer, which compresses it."""
    return _hard(torch.zeros_like(logits[..., 0], dtype=torch.bool), logits)


def both(layer: int, logits: Tensor) -> Tensor:
    """Give every chunk both operations of its layer, with weights of 1 and 1."""
    return torch.ones_like(logits)


def at_random(shares: dict[int, list[float]], generator: torch.Generator) -> Policy:
    """Return a policy that sends chunks to softmax at random, with a share for each layer and routing head."""
    return lambda layer, logits: randomly(torch.tensor(shares[layer]), generator)(layer, logits)


def randomly(share: float | Tensor, generator: torch.Generator | None = None) -> Policy:
    """Return a policy that sends this share of chunks to softmax at random. The share is a number, or [R] by head."""

    def policy(layer: int, logits: Tensor) -> Tensor:
        device = logits.device if generator is None else generator.device
        return _hard(torch.rand(logits.shape[:-1], generator=generator, device=device) < share, logits)

    return policy


def strided(share: float | Tensor) -> Policy:
    """Return a policy that sends every 1/share-th chunk to softmax, at the same positions in every layer and head.

    Chunk n of a sequence is kept where floor((n + 1) * share) > floor(n * share).
    """

    def policy(layer: int, logits: Tensor) -> Tensor:
        chunks = torch.arange(logits.shape[1] + 1, device=logits.device)
        to_softmax = (chunks * share + ROUNDING).floor().diff() > 0
        return _hard(to_softmax[:, None].expand(logits.shape[:-1]), logits)

    return policy


def _hard(to_softmax: Tensor, logits: Tensor) -> Tensor:
    """Return one-hot weights [B, N, R, 2] in the dtype of ``logits``; ``to_softmax`` is bool [B, N, R]."""
    return torch.stack([to_softmax, ~to_softmax], dim=-1).to(logits)


def policy_of(
    architecture: Architecture, share: float | Tensor | None = None, generator: torch.Generator | None = None
) -> Policy:
    """Return the policy of an architecture: the decisions of its routers, or its fixed routing.

    Args:
        architecture: architecture that routes chunks.
        share: softmax share of a fixed routing, in [0, 1] or [R]; the share of the architecture by default.
        generator: generator of random routing; PyTorch's default generator if None.
    """
    if architecture.given_routing is None:
        return learnt
    share = architecture.given_share if share is None else share
    assert share is not None
    return strided(share) if architecture.given_routing == "strided" else randomly(share, generator)
