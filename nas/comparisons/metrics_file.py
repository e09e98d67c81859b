"""Softmax shares from the metrics of a run: at a context length, and of every layer."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from nas.models.operations import dense_share
from nas.runs.metrics import Row
from nas.search_spaces.architecture import Architecture


def shares_at(row: Row, length: int, context: int) -> dict[int, list[float]]:
    """Return the softmax share of each head of each routed layer at a context length.

    Routers keep a smaller share of longer sequences. The shares are those of the longest measured length up to
    ``context``, or of the shortest measured length if all are longer.

    Args:
        row: figures by length factor.
        length: length of a training sequence, in tokens.
        context: context length in tokens.
    """
    measured = row.by_factor
    return measured[max((factor for factor in measured if factor * length <= context), default=min(measured))].shares


def layer_shares(architecture: Architecture, measured: Mapping[int, Sequence[float]]) -> list[float]:
    """Return the softmax share of every layer: measured if it has a router, otherwise 1 for softmax and 0 for others.

    Args:
        architecture: the layers.
        measured: softmax share of each head, by index of the routed layer.
    """
    return [
        fmean(measured[index]) if layer.routed else dense_share(layer)
        for index, layer in enumerate(architecture.layers)
    ]
