"""The routing map of one sequence: the chunks that went to softmax, and the tokens that attend to them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from nas.data import Batch, Task
from nas.data.batch import planted_chunks
from nas.data.shards.vocabulary import token_texts
from nas.evaluation.attention_readers import Readers, readers_of_chunks
from nas.models.language_model import LanguageModel
from nas.models.mixers import TokenMixer
from nas.models.routing import LayerChoice, Policy, Routing, kept_weight

T = TypeVar("T")
TOLERANCE = 1e-3
"""Distance from [0, 1] that rounding may give a probability or a weight."""


class Reader(NamedTuple):
    """A later token that attends to a chunk: its position, and the fraction of its attention to the chunk."""

    token: int
    weight: float


@dataclass(frozen=True)
class RoutingMap:
    """The chunks of one sequence that went to softmax.

    Attributes:
        tokens: texts of the T tokens.
        chunk_size: tokens in a chunk; N = ceil(T / chunk_size) chunks, the last may be short.
        layers: layer index -> [routing head][chunk], probability of softmax in [0, 1].
        chosen: layer index -> [routing head][chunk], softmax weight that was used, in [0, 1].
        planted: whether each chunk contains planted content; None if it is not known.
        decided_in: layer index -> tokens in a chunk of the layer's router, a multiple of ``chunk_size``. Missing layers
            have ``chunk_size``.
        readers: layer index -> [routing head][chunk], later tokens with the largest softmax attention to the chunk,
            largest first; empty if readers were not computed.

    Raises:
        ValueError: nothing is routed, two fields have different shapes, or a number is outside [0, 1].
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
            raise ValueError("tokens or layers is empty; if nothing is routed, use None in place of a RoutingMap.")
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
    """Return the number of routing heads of each layer."""
    return {layer: len(heads) for layer, heads in values.items()}


@dataclass(frozen=True)
class Snapshot:
    """The routing of one sequence at one step of training, in compact form.

    Attributes:
        step: number of training steps before the snapshot.
        chunk_size: tokens in a chunk.
        layers: layer index -> [routing head], one byte a chunk: the probability of softmax, encoded by `code`.
    """

    step: int
    chunk_size: int
    layers: dict[int, list[bytes]]


CODES = 254
"""Number of distinct probabilities in the bytes of a snapshot."""


def code(probability: float) -> int:
    """Return the byte of a probability. It is in the upper half of `CODES` if and only if probability >= 0.5."""
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
    """Return the routing map of one sequence; None if nothing is routed or a logit is not finite.

    Layers of different chunk sizes are shown in chunks of the greatest common divisor. If the architecture fixes the
    routing, routers are not used, and the probability of a chunk is 0 or 1.

    Args:
        model: model of one architecture, or supernet.
        task: task of the sequence, which gives the texts of tokens.
        policy: how router logits become routes; None for the policy of the model.
        layer_choices: one architecture of a supernet; the first option of each layer by default.
        batch: batch whose first sequence is used, of packed documents the longest one in it; the first validation
            batch by default.
        with_readers: whether to compute the readers of each chunk, which takes another attention pass.
    """
    tokens, _, planted, _ = (batch or task.validation_batches()[0]).longest_document()
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
        tokens=token_texts(task, tokens[0].tolist()),
        chunk_size=grain,
        layers=shown.each(routing, lambda decided: _probability(decided).tolist()) if learnt else chosen,
        chosen=chosen,
        planted=None if planted is None else planted_chunks(planted, grain)[0].tolist(),
        decided_in={layer: decided.chunk_size for layer, decided in routing.items()},
        readers={
            layer: [shown.spread(head, routing[layer].chunk_size) for head in _listed(one)]
            for layer, one in found.items()
        },
    )


class _Shown:
    """Converts values of chunks of each layer's own size to values of N chunks of ``grain`` tokens."""

    def __init__(self, grain: int, chunks: int) -> None:
        self._grain, self._chunks = grain, chunks

    def each(
        self, routing: dict[int, Routing], of: Callable[[Routing], list[list[float]]]
    ) -> dict[int, list[list[float]]]:
        """Return, by layer and head, the values that ``of`` gives for the chunks of a layer."""
        return {
            layer: [self.spread(head, decided.chunk_size) for head in of(decided)] for layer, decided in routing.items()
        }

    def spread(self, values: list[T], chunk_size: int) -> list[T]:
        """Repeat each value for every grain of its chunk."""
        return [value for value in values for _ in range(chunk_size // self._grain)][: self._chunks]


def _probability(decided: Routing) -> Tensor:
    """Return the probability of softmax, [R, N], in float64. In float32, probabilities close to 1 round to 1."""
    return decided.logits[0].double().softmax(-1)[..., 0].T


def _listed(readers: Readers) -> list[list[list[Reader]]]:
    """Return the readers of each chunk, by head, without empty places."""
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
    """Collect the readers of each layer's chunks while the model runs on one sequence."""
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
