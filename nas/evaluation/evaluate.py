"""Evaluation of a model: quality, softmax shares, and agreement of routes with planted chunks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data.batch import Batch, planted_chunks
from nas.evaluation.metrics import (
    BITS,
    bits_by_position,
    loss_by_position,
    quality_by_sequence,
    quality_of,
    token_losses,
)
from nas.evaluation.planted import Counts, Found
from nas.models.language_model import LanguageModel, RunBlock, run_block
from nas.models.policies import drop_all, learnt
from nas.models.routing import LayerChoice, Policy, kept_weight
from nas.relaxations import precise


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes:
        quality: quality in the given measure; see `quality_of`.
        loss: mean cross-entropy of scored tokens, in nats.
        shares: softmax shares of each routed layer, by routing head.
        found: precision and recall of planted chunks for each routed layer, by routing head; empty if the task plants
            nothing.
        counts_by_layer: counts behind `found_by_layer`. A chunk counts as routed if any head of the layer sends it to
            softmax.
        by_position: bits per byte or token of each segment of the sequences, or of packed documents, see
            `bits_by_position`; None for other measures.
        loss_by_position: mean loss of each segment, in nats; None unless tokens have different numbers of bytes.
        by_sequence: quality of each sequence that has a scored token.
    """

    quality: float
    loss: float
    shares: dict[int, list[float]]
    found: dict[int, list[Found]]
    counts_by_layer: dict[int, Counts]
    by_position: list[tuple[int, float]] | None
    by_sequence: list[float]
    loss_by_position: list[tuple[int, float]] | None = None

    @property
    def found_by_layer(self) -> dict[int, Found]:
        """Precision and recall of planted chunks for each routed layer."""
        return {layer: counts.found for layer, counts in self.counts_by_layer.items()}

    @property
    def layer_shares(self) -> dict[int, float]:
        """Softmax share of each routed layer, averaged over its heads."""
        return {layer: mean_share({layer: heads}) for layer, heads in self.shares.items()}

    @property
    def share(self) -> float:
        """Softmax share, averaged over routed layers and heads; nan without routing."""
        return mean_share(self.shares)


def mean_share(shares: dict[int, list[float]]) -> float:
    """Return the mean share over layers and heads; nan if ``shares`` is empty."""
    every = [share for heads in shares.values() for share in heads]
    return sum(every) / len(every) if every else math.nan


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    batches: Sequence[Batch],
    measure: str,
    policy: Policy | None = None,
    layer_choices: Sequence[LayerChoice] | None = None,
    run: RunBlock = run_block,
    byte_lengths: Tensor | None = None,
) -> Evaluation:
    """Evaluate ``model`` on ``batches``.

    Args:
        model: model of one architecture, or supernet.
        batches: batches to evaluate on.
        measure: quality measure; see `quality_of`.
        policy: how router logits become routes; None for the policy of the model.
        layer_choices: one architecture of a supernet; the first option of each layer by default.
        run: how blocks are called, for example as CUDA graphs.
        byte_lengths: bytes of each token of the vocabulary, see `nas.data.batch.byte_lengths_of`.
    """
    device = model.embedding.weight.device
    if was_training := model.training:  # walks through all modules, as long as a small model computes
        model.eval()
    losses, hits, positions, members, sequences, longest, sizes = [], [], [], [], 0, 0, []
    routed: dict[int, list[Tensor]] = {}
    chunk_tokens: dict[int, list[Tensor]] = {}
    planted: dict[int, list[Tensor]] = {}
    for batch in batches:
        tokens, places, targets, documents = batch.scored()
        if byte_lengths is not None:
            sizes.append(byte_lengths[targets])
        targets = targets.to(device)
        given = tokens.to(device), policy, None if places is None else places.to(device), layer_choices, run
        output = model(*given, None if documents is None else documents.to(device))
        logits = output.logits.flatten(0, -2)
        losses.append(token_losses(logits, targets))  # on the device: the host waits for it only at the end
        hits.append(logits.argmax(-1) == targets)
        at = torch.arange(tokens.numel()) if places is None else places
        positions.append(at % tokens.shape[1] if documents is None else documents.positions[at])
        longest = max(longest, tokens.shape[1] if documents is None else documents.longest)
        members.append(sequences + at // tokens.shape[1])
        sequences += len(tokens)
        for layer, (routing,) in output.routing.items():
            kept = precise(kept_weight(routing)).clone()  # a recorded block overwrites what it returned
            routed.setdefault(layer, []).append(kept)
            if routing.tokens is not None:
                chunk_tokens.setdefault(layer, []).append(routing.tokens)
            if batch.planted is not None:
                planted.setdefault(layer, []).append(planted_chunks(batch.planted, routing.chunk_size, documents))
    if was_training:
        model.train()
    loss, correct = torch.cat(losses).cpu(), torch.cat(hits).cpu()
    every = 1 if chunk_tokens else 0  # packed batches differ in their number of chunks
    routes = {layer: torch.cat(weights, every).cpu() for layer, weights in routed.items()}
    truth = {layer: torch.cat(chunks, every) for layer, chunks in planted.items()}
    counted = {layer: torch.cat(tokens).cpu() for layer, tokens in chunk_tokens.items()}
    lengths = torch.cat(sizes) if sizes else None
    bytes_per_token = None if lengths is None else lengths.double().mean().item()
    position = torch.cat(positions)
    return Evaluation(
        quality=quality_of(measure, loss, correct, sequences, bytes_per_token=bytes_per_token).item(),
        loss=loss.mean().item(),
        shares={layer: _shares_by_head(route, counted.get(layer)).tolist() for layer, route in routes.items()},
        found={layer: _found_by_head(routes[layer] > 0, chunks) for layer, chunks in truth.items()},
        counts_by_layer={layer: Counts.of((routes[layer] > 0).any(-1), chunks) for layer, chunks in truth.items()},
        by_position=bits_by_position(loss, position, longest, lengths) if measure in BITS else None,
        by_sequence=quality_by_sequence(measure, loss, correct, torch.cat(members), sequences, lengths),
        loss_by_position=None if lengths is None else loss_by_position(loss, position, longest),
    )


def _shares_by_head(route: Tensor, tokens: Tensor | None) -> Tensor:
    """Return the mean [R] of routes [B, N, R]; those of packed chunks count by their numbers of tokens [N]."""
    return route.mean((0, 1)) if tokens is None else (route[0] * tokens[:, None]).sum(0) / tokens.sum()


def _found_by_head(routed: Tensor, planted: Tensor) -> list[Found]:
    return [Counts.of(head, planted).found for head in routed.unbind(-1)]


def retrieving_layer(
    model: LanguageModel, batches: Sequence[Batch], measure: str, policy: Policy = learnt
) -> int | None:
    """Return the routed layer that retrieves: dropping its chunks increases the loss most. None without routed layers.

    Args:
        model: model of one architecture.
        batches: batches to evaluate on.
        measure: quality measure; see `quality_of`.
        policy: policy of the other layers.
    """

    def without(dropped: int) -> Policy:
        return lambda layer, logits: (drop_all if layer == dropped else policy)(layer, logits)

    layers = model.architecture.routed_layers
    return max(layers, key=lambda layer: evaluate(model, batches, measure, without(layer)).loss, default=None)
