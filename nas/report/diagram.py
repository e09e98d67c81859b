"""Diagram of an architecture: a stack of blocks, one for each layer, beside stacks of hand-designed hybrids."""

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from nas.errors import UserError
from nas.models.operations import dense_share, find
from nas.models.operations.operation import Look
from nas.runs.folder import ARCHITECTURE, read_json
from nas.runs.model_files import load_architecture
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.baselines import layers_of

BY_HAND = ("interleaved_1_1", "interleaved_3_1", "interleaved_7_1", "nats_l", "softmax", "linear", "token_hybrid")
"""Baselines with different diagrams; the diagram of any other baseline equals one of these."""


class Block(NamedTuple):
    """A layer of a stack.

    Attributes:
        looks: looks of its operations: a single one, or those between which its router chooses.
        words: text in the block.
        share: share of chunks of the first operation, in [0, 1]; None if it is not known.
        keeps_all: False for a single operation that does not keep every token, whose block is dashed.
    """

    looks: tuple[Look, ...]
    words: str
    share: float | None
    keeps_all: bool

    @property
    def routed(self) -> bool:
        """Whether the layer has a router."""
        return len(self.looks) > 1

    @property
    def kind(self) -> str:
        """CSS class of the block."""
        return "hybrid" if self.routed else self.looks[0].colour

    @classmethod
    def of(cls, layer: Layer, share: float | None = None, with_chunk_size: bool = True) -> "Block":
        """Return the block of a layer; with a router its text has the chunk size, and the share if it is known."""
        operations = [find(name) for name in layer.operations]
        looks = tuple(operation.look for operation in operations)
        width = "" if layer.mlp_width is None else f", MLP of {layer.mlp_width}"
        if not layer.routed:
            return cls(looks, layer.mixer + width, dense_share(layer), operations[0].keeps_all)
        known = share if share is not None and math.isfinite(share) else None
        words = "hybrid" if known is None else f"hybrid, {100 * known:.0f} % {operations[0].name}"
        words = f"{words}, chunks of {layer.chunk_size}" if with_chunk_size else words
        return cls(looks, words + width, known, True)


class Stack(NamedTuple):
    """The layers of a model, first to last. searched: whether the model is the subject of the page."""

    name: str
    searched: bool
    blocks: tuple[Block, ...]


def stack(name: str, architecture: Architecture, shares: Mapping[int, float], searched: bool) -> Stack:
    """Return the stack of an architecture; ``shares`` are the softmax shares of its routed layers by index."""
    blocks = (Block.of(layer, shares.get(index)) for index, layer in enumerate(architecture.layers))
    return Stack(name, searched, tuple(blocks))


def by_hand(layers: int) -> list[Stack]:
    """Return the different stacks of the baselines with this number of layers; some baselines need more layers."""
    found: dict[tuple[Block, ...], Stack] = {}
    for name in BY_HAND:
        try:
            pattern = layers_of(name, layers)
        except ValueError:
            continue
        blocks = tuple(Block.of(layer, with_chunk_size=False) for layer in pattern)
        found.setdefault(blocks, Stack(name, False, blocks))
    return list(found.values())


def stacks_of(folder: Path) -> list[Stack]:
    """Return the stack of a run's `architecture.json`, then those of hand-designed hybrids.

    The list is empty if the file is missing or damaged.
    """
    try:
        architecture = load_architecture(folder / ARCHITECTURE)
    except UserError:
        return []
    return [stack("this run", architecture, measured_shares(folder), True), *by_hand(len(architecture.layers))]


def measured_shares(folder: Path) -> dict[int, float]:
    """Return the softmax share of each routed layer from a run's `architecture.json`; empty if it has none."""
    try:
        measured = read_json(folder / ARCHITECTURE)["measured"]["shares"]
        return {int(layer): fmean(heads) for layer, heads in measured.items() if None not in heads}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
