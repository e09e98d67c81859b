"""What a model is worth and what it costs: quality, softmax share, and how well routes find what was planted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data.batch import Batch, planted_chunks
from nas.evaluation.metrics import bits_by_position, quality_of, token_losses
from nas.evaluation.planted import Counts, Found
from nas.models.language_model import LanguageModel
from nas.models.mixers import LayerChoice, Policy, kept_weight
from nas.models.policies import drop_all, learnt
from nas.relaxations import precise


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


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    batches: Sequence[Batch],
    measure: str,
    policy: Policy | None = None,
    layer_choices: Sequence[LayerChoice] | None = None,
) -> Evaluation:
    """Quality, share and found chunks of ``model`` on ``batches``.

    Args:
        model: of one architecture, or of a space.
        batches: to measure on.
        measure: see `quality_of`.
        policy: that routes follow; None for the model's own.
        layer_choices: one architecture of the space; the first by default.
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
        output = model(tokens.to(device), policy, None if places is None else places.to(device), layer_choices)
        logits = output.logits.flatten(0, -2)
        losses.append(token_losses(logits, targets).cpu())
        correct.append((logits.argmax(-1) == targets).cpu())
        positions.append((torch.arange(tokens.numel()) if places is None else places) % tokens.shape[1])
        for layer, (routing,) in output.routing.items():
            routed.setdefault(layer, []).append(precise(kept_weight(routing)).cpu())
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
        return lambda layer, logits: (drop_all if layer == silenced else policy)(layer, logits)

    layers = model.architecture.routed_layers
    return max(layers, key=lambda layer: evaluate(model, batches, measure, without(layer)).loss, default=None)
