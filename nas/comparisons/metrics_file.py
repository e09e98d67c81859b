"""What the `metrics.json` of a run tells: figures by length, and shares of softmax chunks."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from nas.models.operations import dense_share
from nas.search_spaces.architecture import Architecture


def by_factor(metrics: Mapping[str, Any]) -> dict[int, Any]:
    """The figures of what was trained, by length factor; other routings of the same weights stand behind it."""
    own: Mapping[str, Any] = next(iter(metrics["routings"].values()))
    return {int(factor.removesuffix("x")): figures for factor, figures in own.items()}


def shares_at(own: Mapping[int, Any], length: int, context: int) -> dict[int, list[float]]:
    """The share of softmax chunks of each routed layer by head, as at a context length: routers keep less of long ones.

    Args:
        own: figures by length factor.
        length: of training, in tokens.
        context: in tokens; the longest measured length up to it counts, or else the shortest.
    """
    return shares(own[max((factor for factor in own if factor * length <= context), default=min(own))])


def shares(figures: Mapping[str, Any]) -> dict[int, list[float]]:
    """The share of softmax chunks of each routed layer, by head; nan where training diverged."""
    return {
        int(layer): [math.nan if share is None else share for share in heads]
        for layer, heads in figures["shares"].items()
    }


def layer_shares(architecture: Architecture, measured: Mapping[int, Sequence[float]]) -> list[float]:
    """The share of softmax chunks of every layer: with a router as measured by head, 1 of softmax, 0 of others."""
    return [
        fmean(measured[index]) if layer.routed else dense_share(layer)
        for index, layer in enumerate(architecture.layers)
    ]
