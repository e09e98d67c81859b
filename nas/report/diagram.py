"""An architecture as a stack of blocks, one for each layer, beside the stacks that people design by hand."""

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

from nas.errors import UserError
from nas.runs.folder import ARCHITECTURE, load_architecture, read_json
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.baselines import PATTERNS

BY_HAND = ("interleaved_1_1", "interleaved_3_1", "interleaved_7_1", "nats_l", "softmax", "linear", "token_hybrid")
"""Baselines whose layers differ; others differ from these in what no diagram of layers shows."""


class Block(NamedTuple):
    """A layer of a stack.

    Attributes:
        kind: "softmax", "linear" or "hybrid", which routes chunks of tokens to either.
        words: what stands in it.
        share: of softmax, where that is known.
    """

    kind: Literal["softmax", "linear", "hybrid"]
    words: str
    share: float | None

    @classmethod
    def of(cls, mixer: str, chunk_size: int | None, share: float | None) -> "Block":
        """The block of a mixer; of a token hybrid with its chunk size and its share, where they are known."""
        if mixer != "token_hybrid":
            softmax = mixer == "softmax"
            return cls("softmax" if softmax else "linear", mixer, float(softmax))
        known = share if share is not None and math.isfinite(share) else None
        words = "hybrid" if known is None else f"hybrid, {100 * known:.0f} % softmax"
        return cls("hybrid", words if chunk_size is None else f"{words}, chunks of {chunk_size}", known)


class Stack(NamedTuple):
    """The layers of a model, first to last. searched: whether it is what the page is about."""

    name: str
    searched: bool
    blocks: tuple[Block, ...]


def stack(name: str, architecture: Architecture, shares: Mapping[int, float], searched: bool) -> Stack:
    """The stack of an architecture; ``shares`` has the share of softmax chunks of its routed layers."""
    blocks = (Block.of(one.mixer, one.chunk_size, shares.get(at)) for at, one in enumerate(architecture.layers))
    return Stack(name, searched, tuple(blocks))


def by_hand(layers: int) -> list[Stack]:
    """The baselines of that many layers, without those that need more of them or are the same as one before."""
    found: dict[tuple[Block, ...], Stack] = {}
    for name in BY_HAND:
        try:
            mixers = PATTERNS[name](layers)
        except ValueError:
            continue
        blocks = tuple(Block.of(mixer, None, None) for mixer in mixers)
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
    return [stack("this run", architecture, measured_shares(folder), True), *by_hand(len(architecture.mixers))]


def measured_shares(folder: Path) -> dict[int, float]:
    """The share of softmax of each routed layer of a run, as its `architecture.json` tells; empty where it does not."""
    try:
        measured = read_json(folder / ARCHITECTURE)["measured"]["shares"]
        return {int(layer): fmean(heads) for layer, heads in measured.items() if None not in heads}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
