"""The routing of one sequence, as people look at it: which of its chunks went to softmax, and who reads them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from nas.data import Batch, Task
from nas.data.batch import planted_chunks
from nas.evaluation.attention_readers import Readers, readers_of_chunks
from nas.models.language_model import LanguageModel
from nas.models.mixers import LayerChoice, Policy, Routing, TokenMixer, kept_weight

T = TypeVar("T")
TOLERANCE = 1e-3
"""How far outside [0, 1] rounding may put a probability or a weight."""


class Reader(NamedTuple):
    """A later token that attends to a chunk: its position, and the part of its attention that the chunk gets."""

    token: int
    weight: float


@dataclass(frozen=True)
class RoutingMap:
    """Which chunks of one sequence went to softmax.

    Attributes:
        tokens: text of each of T tokens.
        chunk_size: tokens in a chunk; N = ceil(T / chunk_size) chunks, the last may be short.
        layers: layer index -> [routing head][chunk], probability of softmax in [0, 1].
        chosen: layer index -> [routing head][chunk], the weight actually used, 0 or 1 or between.
        planted: whether each chunk holds planted content; None where it is not known.
        decided_in: layer index -> tokens in a chunk as the layer's router sees it, a multiple of ``chunk_size``; that
            where a layer is not in it.
        readers: layer index -> [routing head][chunk], the later tokens that attend to the chunk most by the softmax
            branch, most first; empty where they were not looked for.

    Raises:
        ValueError: nothing is routed, two fields do not fit, or a number is outside [0, 1].
    """

    tokens: list[str]
    chunk_size: int
    layers: dict[int, list[list[float]]]
    chosen: dict[int, list[list[float]]]
    planted: list[bool] | None
    decided_in: dict[int, int] = field(default_factory=dict)
    readers: dict[int, list[list[list[Reader]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tokens or not self.layers:
            raise ValueError("tokens or layers is empty; where nothing is routed, give None in place of a RoutingMap.")
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size={self.chunk_size} is not allowed; it must be at least 1.")
        if self.planted is not None and len(self.planted) != self.chunks:
            raise ValueError(f"planted has {len(self.planted)} chunks; {self._expected()}.")
        if shape(self.layers) != shape(self.chosen):
            raise ValueError(f"layers has heads {shape(self.layers)} and chosen {shape(self.chosen)}; give the same.")
        self._check("layers", self.layers)
        self._check("chosen", self.chosen)

    @property
    def chunks(self) -> int:
        """N, the number of chunks."""
        return -(-len(self.tokens) // self.chunk_size)

    def _expected(self) -> str:
        return f"{len(self.tokens)} tokens in chunks of {self.chunk_size} make {self.chunks}"

    def _check(self, name: str, values: dict[int, list[list[float]]]) -> None:
        for layer, heads in values.items():
            for head, row in enumerate(heads):
                if len(row) != self.chunks:
                    raise ValueError(f"{name}[{layer}][{head}] has {len(row)} chunks; {self._expected()}.")
                for value in row:
                    if not -TOLERANCE <= value <= 1 + TOLERANCE:  # true of NaN too
                        raise ValueError(f"{name}[{layer}][{head}] has {value}; it must be between 0 and 1.")


def shape(values: dict[int, list[list[float]]]) -> dict[int, int]:
    """Routing heads of each layer."""
    return {layer: len(heads) for layer, heads in values.items()}


@dataclass(frozen=True)
class Snapshot:
    """The routing of one sequence during training, in little room.

    Attributes:
        step: after which it was taken.
        chunk_size: tokens in a chunk.
        layers: layer index -> [routing head], one byte a chunk: the probability of softmax as `code` has it.
    """

    step: int
    chunk_size: int
    layers: dict[int, list[bytes]]


CODES = 254
"""Probabilities are told apart in so many steps of a byte."""


def code(probability: float) -> int:
    """The byte of a probability: in the upper half of `CODES` exactly where it is at least a half."""
    return max(0, min(CODES - 1, int(CODES * probability)))


@torch.no_grad()
def routing_map(
    model: LanguageModel,
    task: Task,
    policy: Policy | None,
    layer_choices: Sequence[LayerChoice] | None = None,
    *,
    batch: Batch | None = None,
    with_readers: bool = False,
) -> RoutingMap | None:
    """The routing of one sequence; None if nothing is routed or a score is not finite.

    Layers of different chunk sizes are shown in chunks of their greatest common divisor. Where a routing is given,
    routers have no say: a chunk's probability is then 0 or 1.

    Args:
        model: of one architecture, or of a space.
        task: whose tokens they are.
        policy: that routes follow.
        layer_choices: one architecture of the space; the first by default.
        batch: whose first sequence it is; by default the first batch to validate on.
        with_readers: whether to look for the tokens that attend to each chunk, which takes another look at all of them.
    """
    batch = batch or task.validation_batches()[0]
    tokens, planted = batch.tokens[:1], batch.planted
    with _reading(model, with_readers) as found:
        output = model(tokens.to(model.embedding.weight.device), policy, None, layer_choices)
    routing = {layer: decided for layer, (decided,) in output.routing.items()}
    if not routing or not all(decided.logits.isfinite().all() for decided in routing.values()):
        return None
    grain = math.gcd(*(decided.chunk_size for decided in routing.values()))
    shown = _Shown(grain, -(-tokens.shape[1] // grain))
    chosen = shown.each(routing, lambda decided: kept_weight(decided)[0].T.tolist())
    learnt = model.architecture.given_routing is None
    return RoutingMap(
        tokens=[task.token_text(token) for token in tokens[0].tolist()],
        chunk_size=grain,
        layers=shown.each(routing, lambda decided: _probability(decided).tolist()) if learnt else chosen,
        chosen=chosen,
        planted=None if planted is None else planted_chunks(planted[:1], grain)[0].tolist(),
        decided_in={layer: decided.chunk_size for layer, decided in routing.items()},
        readers={
            layer: [shown.spread(head, routing[layer].chunk_size) for head in _listed(one)]
            for layer, one in found.items()
        },
    )


class _Shown:
    """What layers decided in chunks of their own, in N chunks of ``grain`` tokens."""

    def __init__(self, grain: int, chunks: int) -> None:
        self._grain, self._chunks = grain, chunks

    def each(
        self, routing: dict[int, Routing], of: Callable[[Routing], list[list[float]]]
    ) -> dict[int, list[list[float]]]:
        """By layer and head what ``of`` tells of a layer's own chunks."""
        return {
            layer: [self.spread(head, decided.chunk_size) for head in of(decided)] for layer, decided in routing.items()
        }

    def spread(self, values: list[T], chunk_size: int) -> list[T]:
        """Each value as often as there are grains in a chunk."""
        return [value for value in values for _ in range(chunk_size // self._grain)][: self._chunks]


def _probability(decided: Routing) -> Tensor:
    """[R, N] probability of softmax, in float64: in float32 the surest are all 1."""
    return decided.logits[0].double().softmax(-1)[..., 0].T


def _listed(readers: Readers) -> list[list[list[Reader]]]:
    """By head and chunk the tokens that there are."""
    tokens, weights = readers.tokens.tolist(), readers.weights.tolist()
    return [
        [
            [Reader(token, min(weight, 1.0)) for token, weight in zip(*chunk, strict=True) if token >= 0]
            for chunk in zip(*head, strict=True)
        ]
        for head in zip(tokens, weights, strict=True)
    ]


@contextmanager
def _reading(model: LanguageModel, wanted: bool) -> Iterator[dict[int, Readers]]:
    """While a model runs on one sequence, the readers of each layer's chunks."""
    found: dict[int, Readers] = {}

    def read(mixer: Any, given: tuple[Tensor, ...], result: tuple[Tensor, list[Routing]]) -> None:
        assert isinstance(mixer, TokenMixer)
        for decided in result[1]:
            assert mixer.pair is not None
            q, k, *_ = mixer.pair.branches[0].heads(mixer, mixer.project(given[0]))
            route = kept_weight(decided)[0]
            found[mixer.index] = readers_of_chunks(q[0], k[0], route, chunk_size=decided.chunk_size)

    mixers = [module for module in model.modules() if isinstance(module, TokenMixer)] if wanted else []
    hooks = [mixer.register_forward_hook(read) for mixer in mixers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
