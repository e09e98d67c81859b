"""The optimiser with its parameter groups, and the schedule of the learning rate."""

import math
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from nas.config import TrainerConfig
from nas.models.language_model import LanguageModel
from nas.models.router import Router
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.training.updates.muon import Together, muon, muon_parameters


def build_optimizer(
    model: LanguageModel, architecture_logits: ArchitectureLogits, trainer: TrainerConfig, on_gpu: bool
) -> Optimizer:
    """Return the optimiser of a training: AdamW, or Muon for the matrices of the blocks and AdamW for the rest.

    AdamW is fused on a GPU, except in float16: its gradient scaler could not clip then.
    """
    groups = parameter_groups(model, architecture_logits, trainer)
    matrices = muon_parameters(model) if trainer.optimizer == "muon" else []
    taken = {id(p) for p in matrices}
    groups[0]["params"] = [p for p in groups[0]["params"] if id(p) not in taken]
    adamw = torch.optim.AdamW(
        groups,
        lr=trainer.learning_rate,
        betas=(0.9, trainer.beta2),
        fused=True if on_gpu and trainer.precision != "16-mixed" else None,
    )
    if not matrices:
        return adamw
    return Together(muon([{"params": matrices, "weight_decay": trainer.weight_decay}], trainer.learning_rate), adamw)


def parameter_groups(
    model: LanguageModel, architecture_logits: ArchitectureLogits, trainer: TrainerConfig
) -> list[dict[str, Any]]:
    """Return the parameter groups: matrices with weight decay, vectors without, routers and architecture logits.

    Routers and architecture logits have learning rates of their own, no weight decay and a larger eps. Once a task is
    solved, their gradients are tiny, and Adam with a small eps would turn them into full steps.
    """
    routers = router_parameters(model)
    taken = {id(p) for p in routers}
    others = [p for p in model.parameters() if id(p) not in taken]
    groups: list[dict[str, Any]] = [
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
    """Return the factor on the learning rates: linear warm-up, then a schedule that ends at ``final_learning_rate``.

    The schedule is half a cosine, linear, constant without an end, or "wsd" (warm-up, stable, decay; Hu et al. 2024,
    arXiv 2404.06395): constant and then linear over the last ``decay_share`` of the steps.
    """
    if step < trainer.warmup_steps:
        return (step + 1) / trainer.warmup_steps
    if trainer.schedule == "constant":
        return 1.0
    begin = float(trainer.warmup_steps)
    if trainer.schedule == "wsd":
        begin = max(begin, trainer.steps * (1 - trainer.decay_share))
    done = max(0.0, step - begin) / max(1, trainer.steps - begin)
    left = 1 - min(1.0, done)
    if trainer.schedule == "cosine":
        left = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return trainer.final_learning_rate + (1 - trainer.final_learning_rate) * left
