"""Bilevel training: weights are updated in one step, and routers and architecture logits in the next one."""

from collections.abc import Iterable

from torch.nn import Parameter

from nas.models.language_model import LanguageModel
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.training.updates.optimizer import router_parameters


def chooses(step: int) -> bool:
    """Return whether a step of bilevel training updates routers and architecture logits, and not the weights."""
    return step % 2 == 1


def clear_unused_gradients(
    parameters: Iterable[Parameter], model: LanguageModel, logits: ArchitectureLogits, step: int
) -> None:
    """Keep the gradients of the weights, or of routers and architecture logits, in alternate steps.

    Args:
        parameters: all parameters of a training.
        model: model with the routers.
        logits: architecture logits.
        step: step of the training.
    """
    chosen = {id(p) for p in (*router_parameters(model), *logits.parameters())}
    for parameter in parameters:
        if (id(parameter) in chosen) != chooses(step):
            parameter.grad = None
