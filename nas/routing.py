"""The routing of one sequence, as people look at it: which of its chunks went to softmax, and who reads them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from nas.attention_readers import Readers, readers_of_chunks
from nas.data import Batch, Task
from nas.data.batch import planted_chunks
from nas.evaluation import softmax_weight
from nas.models.language_model import LanguageModel
from nas.models.mixers import Path, Policy, Routing, TokenMixer
from nas.models.router import OPERATIONS
from nas.report import Reader, RoutingMap

T = TypeVar("T")


@torch.no_grad()
def routing_map(
    model: LanguageModel,
    task: Task,
    policy: Policy | None,
    paths: Sequence[Path] | None = None,
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
        paths: one architecture of the space; the first by default.
        batch: whose first sequence it is; by default the first batch to validate on.
        with_readers: whether to look for the tokens that attend to each chunk, which takes another look at all of them.
    """
    batch = batch or task.validation_batches()[0]
    tokens, planted = batch.tokens[:1], batch.planted
    with _reading(model, with_readers) as found:
        output = model(tokens.to(model.embedding.weight.device), policy, None, paths)
    routing = {layer: decided for layer, (decided,) in output.routing.items()}
    if not routing or not all(decided.logits.isfinite().all() for decided in routing.values()):
        return None
    grain = math.gcd(*(decided.chunk_size for decided in routing.values()))
    shown = _Shown(grain, -(-tokens.shape[1] // grain))
    chosen = shown.each(routing, lambda decided: softmax_weight(decided)[0].T.tolist())
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
    return decided.logits[0].double().softmax(-1)[..., OPERATIONS.index("softmax")].T


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
            heads = mixer.softmax_heads(mixer.project(given[0]))
            route = softmax_weight(decided)[0]
            found[mixer.index] = readers_of_chunks(heads.q[0], heads.k[0], route, chunk_size=decided.chunk_size)

    mixers = [module for module in model.modules() if isinstance(module, TokenMixer)] if wanted else []
    hooks = [mixer.register_forward_hook(read) for mixer in mixers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
