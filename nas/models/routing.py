"""Routes: the policies that decide them, what a router decided, and which options a layer computes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nas.relaxations import precise
from nas.search_spaces.architecture import Layer

Policy = Callable[[int, Tensor], Tensor]
"""Maps (layer index, router logits [B, N, R, 2] of the first N chunks) to weights of the same shape.

Packed documents are B sequences for a policy, with zeros behind the chunks of shorter ones.
Weights sum to 1 over the last dimension, except if a chunk gets both operations.
"""


def first_alone(layer: int, logits: Tensor) -> Tensor:
    """Reject every call. Under this policy no router is used: a layer with a router is its first operation alone.

    A mixer recognises this policy, computes no logits and never calls it.
    """
    raise AssertionError("routers are not used under this policy")


class LayerChoice(NamedTuple):
    """The options that a layer computes in one forward pass: a single option, or a mixture.

    Attributes:
        option: index of the single option; None for a mixture.
        weights: [options] weights of a mixture. For a single option, a scalar of value 1 that passes a gradient on, or
            None.
        among: indices of the options of a mixture; None for all options.
    """

    option: int | None
    weights: Tensor | None = None
    among: tuple[int, ...] | None = None

    def of(self, options: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return the options that are computed."""
        if self.option is not None:
            return (options[self.option],)
        return options if self.among is None else tuple(options[index] for index in self.among)


FIRST_OPTION = LayerChoice(0)
"""The first option of a layer alone."""


class Routing(NamedTuple):
    """The decisions of one router.

    Attributes:
        logits: [B, N, R, 2] router logits of N chunks.
        weights: [B, N, R, 2] weights that the policy made of the logits.
        chunk_size: tokens in a chunk.
        shares: see `shares_of`; None if they were not computed with the routing.
        tokens: [N] number of tokens of each chunk of packed documents, B = 1; None if all chunks count equally.
    """

    logits: Tensor
    weights: Tensor
    chunk_size: int
    shares: Tensor | None = None
    tokens: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of values [B, N, R] over chunks and heads; documents' chunks count by their tokens."""
        if self.tokens is None:
            return values.mean()
        return (values.mean(-1)[0] * self.tokens).sum() / self.tokens.sum()

    @classmethod
    def joined(cls, several: Sequence["Routing"]) -> "Routing":
        """Return the routings of several batches as one: with more sequences, or with more packed chunks."""
        packed = [one.tokens for one in several if one.tokens is not None]
        logits, weights = (
            torch.cat(parts, dim=1 if packed else 0) for parts in zip(*(one[:2] for one in several), strict=True)
        )
        return cls(logits, weights, several[0].chunk_size, tokens=torch.cat(packed) if packed else None)


def kept_weight(routing: Routing) -> Tensor:
    """Return the weight [B, N, R] of each chunk for the operation that keeps chunks, softmax attention."""
    return routing.weights[..., 0]


def shares_of(routing: Routing) -> Tensor:
    """Return the softmax shares [2] of a routing: the mean weight, and the share of chunks with a larger softmax logit.

    Both have the gradient of the mean weight.
    """
    if routing.shares is not None:
        return routing.shares
    share = routing.mean(precise(kept_weight(routing)))
    hard = routing.mean((kept_margin(routing) >= 0).to(share))
    return torch.stack([share, share + (hard - share).detach()])


def kept_margin(routing: Routing) -> Tensor:
    """Return the softmax margin [B, N, R] of each chunk, softmax logit minus linear logit; kept from 0 on."""
    kept, dropped = precise(routing.logits).unbind(-1)
    return kept - dropped
