"""Softmax shares from the metrics of a run: at a context length, and of every layer."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from nas.models.operations import dense_share
from nas.runs.metrics import Row
from nas.search_spaces.architecture import Architecture


def shares_at(row: Row, length: int, context: int) -> dict[int, list[float]]:
    """The softmax share of each routed layer by head at a context length: routers keep less of longer sequences.

    Args:
        row: with figures by length factor.
        length: of a training sequence, in tokens.
        context: in tokens; the figures are those of the longest measured length up to it, or else of the shortest.
    """
    measured = row.by_factor
    return measured[max((factor for factor in measured if factor * length <= context), default=min(measured))].shares


def layer_shares(architecture: Architecture, measured: Mapping[int, Sequence[float]]) -> list[float]:
    """The share of softmax chunks of every layer: with a router as measured by head, 1 of softmax, 0 of others."""
    return [
        fmean(measured[index]) if layer.routed else dense_share(layer)
        for index, layer in enumerate(architecture.layers)
    ]
