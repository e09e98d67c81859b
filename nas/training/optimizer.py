"""Parameter groups of the optimiser, and the schedule of the learning rate."""

import math

from torch.nn import Parameter

from nas.config import TrainerConfig
from nas.models.language_model import LanguageModel
from nas.models.router import Router
from nas.supernet.architecture_logits import ArchitectureLogits


def parameter_groups(
    model: LanguageModel, architecture_logits: ArchitectureLogits, trainer: TrainerConfig
) -> list[dict[str, object]]:
    """Return the parameter groups: matrices with weight decay, vectors without, routers and architecture logits.

    Routers and architecture logits have learning rates of their own, no weight decay and a larger eps. Once a task is
    solved, their gradients are tiny, and Adam with a small eps would turn them into full steps.
    """
    routers = router_parameters(model)
    taken = {id(p) for p in routers}
    others = [p for p in model.parameters() if id(p) not in taken]
    groups: list[dict[str, object]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": trainer.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    for parameters, rate in (
        (routers, trainer.router_learning_rate),
        (list(architecture_logits.parameters()), trainer.architecture_learning_rate),
    ):
        if parameters:
            groups.append({"params": parameters, "weight_decay": 0.0, "lr": rate, "eps": trainer.router_eps})
    return groups


def routers_of(model: LanguageModel) -> list[Router]:
    """Return every router of a model."""
    return [module for module in model.modules() if isinstance(module, Router)]


def router_parameters(model: LanguageModel) -> list[Parameter]:
    """Return the parameters of every router of a model."""
    return [parameter for router in routers_of(model) for parameter in router.parameters()]


def schedule(step: int, trainer: TrainerConfig) -> float:
    """Return the factor on the learning rates: linear warm-up, then half a cosine to ``final_learning_rate``."""
    if step < trainer.warmup_steps:
        return (step + 1) / trainer.warmup_steps
    done = (step - trainer.warmup_steps) / max(1, trainer.steps - trainer.warmup_steps)
    cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return trainer.final_learning_rate + (1 - trainer.final_learning_rate) * cosine
