"""What a model is worth and what it costs: quality, softmax share, and how well routes find what was planted."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import Architecture
from nas.data.batch import Batch, planted_chunks
from nas.models.language_model import LanguageModel
from nas.models.mixers import Path, Policy, Routing
from nas.models.router import OPERATIONS
from nas.relaxations import argmax_ste, precise

ROUNDING = 1e-4
"""How much of a chunk is none where shares are added up: 10 times 0.1 is 1, also in float32."""


def learnt(layer: int, logits: Tensor) -> Tensor:
    """The routing that was learnt: each chunk gets the operation with the larger logit."""
    return argmax_ste(logits, 1.0)


def always(operation: str) -> Policy:
    """Every chunk gets ``operation``."""
    index = OPERATIONS.index(operation)

    def policy(layer: int, logits: Tensor) -> Tensor:
        return F.one_hot(torch.tensor(index, device=logits.device), len(OPERATIONS)).to(logits).expand_as(logits)

    return policy


def both(layer: int, logits: Tensor) -> Tensor:
    """Every chunk gets softmax and linear attention: weights of 1 and 1."""
    return torch.ones_like(logits)


def at_random(shares: dict[int, list[float]], generator: torch.Generator) -> Policy:
    """Softmax at random, as often in each layer and routing head as ``shares`` says."""
    return lambda layer, logits: randomly(torch.tensor(shares[layer]), generator)(layer, logits)


def randomly(share: float | Tensor, generator: torch.Generator | None = None) -> Policy:
    """Softmax at random, for this share of the chunks: everywhere the same, or [R] by routing head."""

    def policy(layer: int, logits: Tensor) -> Tensor:
        device = logits.device if generator is None else generator.device
        return _hard(torch.rand(logits.shape[:-1], generator=generator, device=device) < share, logits)

    return policy


def strided(share: float | Tensor) -> Policy:
    """Softmax at fixed positions, the same in every layer and head: every 1/share-th chunk.

    Chunk n of a sequence is kept where floor((n + 1) * share) > floor(n * share).
    """

    def policy(layer: int, logits: Tensor) -> Tensor:
        chunks = torch.arange(logits.shape[1] + 1, device=logits.device)
        to_softmax = (chunks * share + ROUNDING).floor().diff() > 0
        return _hard(to_softmax[:, None].expand(logits.shape[:-1]), logits)

    return policy


def _hard(to_softmax: Tensor, logits: Tensor) -> Tensor:
    """One-hot weights like ``logits`` [B, N, R, 2] of what goes to softmax, bool [B, N, R]."""
    return torch.stack([to_softmax, ~to_softmax], dim=-1).to(logits)


def policy_of(
    architecture: Architecture, share: float | Tensor | None = None, generator: torch.Generator | None = None
) -> Policy:
    """How the chunks of an architecture are routed: as its routers learnt to, or as it is given.

    Args:
        architecture: whose routing it is.
        share: of softmax chunks of a given routing, in place of the architecture's own.
        generator: of what is drawn at random; PyTorch's own by default.
    """
    if architecture.given_routing is None:
        return learnt
    share = architecture.given_share if share is None else share
    assert share is not None
    return strided(share) if architecture.given_routing == "strided" else randomly(share, generator)


@dataclass(frozen=True)
class Found:
    """How a route agrees with the planted chunks: precision and recall, each nan where there is nothing to count."""

    precision: float
    recall: float


class Counts(NamedTuple):
    """How many chunks a route and the planted chunks have in common, and each alone; averages over processes too."""

    hits: float
    routed: float
    planted: float

    @classmethod
    def of(cls, routed: Tensor, planted: Tensor) -> "Counts":
        """Both bool of one shape."""
        return cls(*(int(chunks.sum()) for chunks in (routed & planted, routed, planted)))

    @property
    def found(self) -> Found:
        """What they say of how well the route finds."""
        return Found(
            precision=self.hits / self.routed if self.routed else math.nan,
            recall=self.hits / self.planted if self.planted else math.nan,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is nothing to count."""
        both = self.routed + self.planted
        return 2 * self.hits / both if both else 0.0


def most_found(layers: Sequence[Counts]) -> Found:
    """Precision and recall of the layer of the largest F1, the first of equals.

    By F1 because either figure alone is at its best in a layer that finds nothing: recall where every chunk is kept,
    precision where a single one is.
    """
    return max(layers, key=lambda counts: counts.f1).found


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes:
        quality: the figure of merit that was asked for; see `quality_of`.
        loss: mean cross-entropy of scored tokens, in nats.
        shares: share of softmax chunks of each routed layer, by routing head.
        found: agreement with the planted chunks of each routed layer, by routing head, where something is planted.
        counts_by_layer: for a whole layer, what `found_by_layer` follows from; a chunk counts as routed where any of
            the layer's heads routes it.
        by_position: for bits per byte, that of each segment of the sequences; see `bits_by_position`.
    """

    quality: float
    loss: float
    shares: dict[int, list[float]]
    found: dict[int, list[Found]]
    counts_by_layer: dict[int, Counts]
    by_position: list[tuple[int, float]] | None

    @property
    def found_by_layer(self) -> dict[int, Found]:
        """Agreement of each routed layer with the planted chunks."""
        return {layer: counts.found for layer, counts in self.counts_by_layer.items()}

    @property
    def layer_shares(self) -> dict[int, float]:
        """Share of softmax chunks of each routed layer, averaged over its heads."""
        return {layer: mean_share({layer: heads}) for layer, heads in self.shares.items()}

    @property
    def share(self) -> float:
        """Share of softmax chunks, averaged over routed layers and heads; nan without routing."""
        return mean_share(self.shares)


def mean_share(shares: dict[int, list[float]]) -> float:
    """Average over layers and heads; nan if there are none."""
    every = [share for heads in shares.values() for share in heads]
    return sum(every) / len(every) if every else math.nan


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of each scored token; logits [n, vocab], targets [n]."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


HIGHER = {"recall": True, "accuracy": True, "exact_match": True, "bits_per_byte": False}
"""Whether more of a figure of merit is better."""


def quality_of(
    measure: str, loss: Tensor, correct: Tensor, sequences: int, mean: Callable[[Tensor], Tensor] = torch.mean
) -> Tensor:
    """The figure of merit, without waiting for a GPU.

    Args:
        measure: "recall" or "accuracy", the share of scored tokens that are predicted right; "exact_match", the share
            of sequences in which all of them are; "bits_per_byte", the mean loss in bits.
        loss: [n] of each scored token, in nats.
        correct: [n] whether it is predicted right.
        sequences: how many these tokens are of; for exact_match each has as many of them.
        mean: over all values.
    """
    if measure == "bits_per_byte":
        return mean(loss) / math.log(2)
    if measure == "exact_match":
        correct = correct.view(sequences, -1).all(-1)
    return mean(correct.float())


FIRST_SEGMENT = 16
"""Tokens in the first segment of `bits_by_position`."""


def bits_by_position(loss: Tensor, position: Tensor, length: int) -> list[tuple[int, float]]:
    """Bits per byte by position in the context: for each segment where it ends and the mean loss of its tokens in bits.

    Segments end at 16 tokens, 32, 64, and so on, the last at the end of the sequence; one without tokens is left out.

    Args:
        loss: [n] of each scored token, in nats.
        position: [n] of each, in its sequence.
        length: of the sequences, in tokens.
    """
    segments, start, end = [], 0, FIRST_SEGMENT
    while start < length:
        end = min(end, length)
        within = loss[(start <= position) & (position < end)]
        if len(within):
            segments.append((end, within.mean().item() / math.log(2)))
        start, end = end, 2 * end
    return segments


TIE = 1e-7
"""How much the loss counts beside the quality: less than one more right answer in any set to validate on."""


def merit(measure: str, quality: float, loss: float) -> float:
    """What models are chosen by, larger is better: the quality, and of two that are equal in it the lower loss.

    Minus infinity where training diverged.
    """
    if not (math.isfinite(quality) and math.isfinite(loss)):
        return -math.inf
    return (quality if HIGHER[measure] else -quality) - TIE * loss / (1 + loss)


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    batches: Sequence[Batch],
    measure: str,
    policy: Policy | None = learnt,
    paths: Sequence[Path] | None = None,
) -> Evaluation:
    """Quality, share and found chunks of ``model`` on ``batches``.

    Args:
        model: of one architecture, or of a space.
        batches: to measure on.
        measure: see `quality_of`.
        policy: that routes follow; None for no routing.
        paths: one architecture of the space; the first by default.
    """
    device = model.embedding.weight.device
    was_training = model.training
    model.eval()
    losses, correct, positions = [], [], []
    routed: dict[int, list[Tensor]] = {}
    planted: dict[int, list[Tensor]] = {}
    for batch in batches:
        tokens, places, targets = batch.scored()
        targets = targets.to(device)
        output = model(tokens.to(device), policy, None if places is None else places.to(device), paths)
        logits = output.logits.flatten(0, -2)
        losses.append(token_losses(logits, targets).cpu())
        correct.append((logits.argmax(-1) == targets).cpu())
        positions.append((torch.arange(tokens.numel()) if places is None else places) % tokens.shape[1])
        for layer, (routing,) in output.routing.items():
            routed.setdefault(layer, []).append(precise(softmax_weight(routing)).cpu())
            if batch.planted is not None:
                planted.setdefault(layer, []).append(planted_chunks(batch.planted, routing.chunk_size))
    model.train(was_training)
    loss = torch.cat(losses)
    routes = {layer: torch.cat(weights) for layer, weights in routed.items()}
    truth = {layer: torch.cat(chunks) for layer, chunks in planted.items()}
    return Evaluation(
        quality=quality_of(measure, loss, torch.cat(correct), sum(len(batch.tokens) for batch in batches)).item(),
        loss=loss.mean().item(),
        shares={layer: route.mean((0, 1)).tolist() for layer, route in routes.items()},
        found={layer: _found_by_head(routes[layer] > 0, chunks) for layer, chunks in truth.items()},
        counts_by_layer={layer: Counts.of((routes[layer] > 0).any(-1), chunks) for layer, chunks in truth.items()},
        by_position=bits_by_position(loss, torch.cat(positions), max(batch.tokens.shape[1] for batch in batches))
        if measure == "bits_per_byte"
        else None,
    )


def softmax_weight(routing: Routing) -> Tensor:
    """[B, N, R]: how much of each chunk the softmax branch keeps."""
    return routing.weights[..., OPERATIONS.index("softmax")]


def leads(routing: Routing) -> Tensor:
    """[B, N, R]: by how much the logit of softmax is over that of linear attention; from 0 on softmax is chosen."""
    logits = precise(routing.logits)
    softmax, linear = (logits[..., OPERATIONS.index(operation)] for operation in ("softmax", "linear"))
    return softmax - linear


def _found_by_head(routed: Tensor, planted: Tensor) -> list[Found]:
    return [Counts.of(head, planted).found for head in routed.unbind(-1)]


def retrieving_layer(
    model: LanguageModel, batches: Sequence[Batch], measure: str, policy: Policy = learnt
) -> int | None:
    """The routed layer whose softmax matters most: where linear routing alone costs the most loss; None if none.

    Args:
        model: of one architecture.
        batches: to measure on.
        measure: see `quality_of`.
        policy: that the routes of the other layers follow.
    """

    def without(silenced: int) -> Policy:
        linear = always("linear")
        return lambda layer, logits: (linear if layer == silenced else policy)(layer, logits)

    layers = model.architecture.routed_layers
    return max(layers, key=lambda layer: evaluate(model, batches, measure, without(layer)).loss, default=None)
