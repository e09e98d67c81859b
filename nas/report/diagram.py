"""An architecture as a stack of blocks, one for each layer, beside the stacks that people design by hand."""

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from nas.errors import UserError
from nas.models.operations import dense_share, find
from nas.models.operations.operation import Look
from nas.runs.folder import ARCHITECTURE, load_architecture, read_json
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.baselines import layers_of

BY_HAND = ("interleaved_1_1", "interleaved_3_1", "interleaved_7_1", "nats_l", "softmax", "linear", "token_hybrid")
"""Baselines whose layers differ; others differ from these in what no diagram of layers shows."""


class Block(NamedTuple):
    """A layer of a stack.

    Attributes:
        looks: of its operations: one alone, or the two between which a router chooses.
        words: text in the block.
        share: of chunks that the first operation keeps, in [0, 1]; None if it is not known.
        keeps_all: whether an operation alone keeps every token; blocks that do not are dashed.
    """

    looks: tuple[Look, ...]
    words: str
    share: float | None
    keeps_all: bool

    @property
    def routed(self) -> bool:
        """Whether a router chooses between operations."""
        return len(self.looks) > 1

    @property
    def kind(self) -> str:
        """Class of the block in the style sheet."""
        return "hybrid" if self.routed else self.looks[0].colour

    @classmethod
    def of(cls, layer: Layer, share: float | None = None, with_chunk_size: bool = True) -> "Block":
        """The block of a layer; with a router it tells its chunk size and its share, if that is known."""
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
    """The layers of a model, first to last. searched: whether it is what the page is about."""

    name: str
    searched: bool
    blocks: tuple[Block, ...]


def stack(name: str, architecture: Architecture, shares: Mapping[int, float], searched: bool) -> Stack:
    """The stack of an architecture; ``shares`` has the share of softmax chunks of its routed layers."""
    blocks = (Block.of(layer, shares.get(index)) for index, layer in enumerate(architecture.layers))
    return Stack(name, searched, tuple(blocks))


def by_hand(layers: int) -> list[Stack]:
    """The baselines of that many layers, without those that need more of them or are the same as one before."""
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
    """What a run found, as its `architecture.json` tells, and the hybrids that people design by hand.

    None where the file is not there yet, or is damaged.
    """
    try:
        architecture = load_architecture(folder / ARCHITECTURE)
    except UserError:
        return []
    return [stack("this run", architecture, measured_shares(folder), True), *by_hand(len(architecture.layers))]


def measured_shares(folder: Path) -> dict[int, float]:
    """The share of softmax of each routed layer of a run, as its `architecture.json` tells; empty where it does not."""
    try:
        measured = read_json(folder / ARCHITECTURE)["measured"]["shares"]
        return {int(layer): fmean(heads) for layer, heads in measured.items() if None not in heads}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
