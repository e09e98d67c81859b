"""Validation during training: the quality of the present architecture, and the planted chunks that it finds."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from nas.data import Task, byte_lengths_of
from nas.distributed.collectives import average, average_over, own_share
from nas.evaluation.evaluate import evaluate
from nas.evaluation.planted import Counts, Found, most_found
from nas.models.language_model import LanguageModel
from nas.models.routing import LayerChoice, Policy


class Validation(NamedTuple):
    """Result of a validation during training.

    Attributes:
        quality: quality in the measure of the task.
        found: precision and recall of planted chunks in the layer with the largest F1, see
            `nas.evaluation.planted.most_found`. None if the task plants nothing, and during the dense phase. It may not
            be the layer that retrieves, which takes one evaluation per layer to find.
    """

    quality: float
    found: Found | None


class Validated(NamedTuple):
    """The quality of a validation, and the step after which it was measured."""

    step: int
    quality: float


def validate(
    model: LanguageModel,
    task: Task,
    policy: Policy,
    layer_choices: Sequence[LayerChoice],
    autocast: torch.autocast,
    finds: bool,
) -> Validation:
    """Evaluate an architecture on the validation batches, which the processes share.

    Args:
        model: model with its weights.
        task: task of the training.
        policy: policy of the routers.
        layer_choices: what each layer computes.
        autocast: precision of the training.
        finds: whether planted chunks are counted.
    """
    batches, lengths = own_share(task.validation_batches()), byte_lengths_of(task)
    device = model.embedding.weight.device
    with autocast:
        result = evaluate(model, batches, task.quality, policy, layer_choices, byte_lengths=lengths)
    quality = average_over(batches, result.quality, device, lengths)
    if not (finds and result.counts_by_layer):
        return Validation(quality, None)
    counts = torch.tensor(list(result.counts_by_layer.values()), dtype=torch.float32, device=device)
    return Validation(quality, most_found([Counts(*layer) for layer in average(counts).tolist()]))
