"""Whether a checkpoint can be restored into a module: its parts, the types and the shapes in them.

Lightning reads a checkpoint without such checks: it fails with an error of Python, or later in the first step.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import Optimizer

from nas.distributed.rendezvous import is_lost
from nas.errors import UserError
from nas.training.module import TrainingModule

PARTS = {"state_dict": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict, "callbacks": dict}
"""Parts of a checkpoint beside its step, and their types."""
ADAMW, MUON = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)
"""Tensors in the state of a parameter, by optimiser."""
ERRORS = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)
"""Errors that Lightning and torch raise while they restore a checkpoint with something else in it."""


class Restored(lightning.Callback):
    """Knows whether training has begun, and with it whether the checkpoint has been restored."""

    def __init__(self) -> None:
        self.begun = False

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.begun = True


@contextmanager
def restoring(checkpoint: str | None, restored: Restored) -> Iterator[None]:
    """Turn an error of the block into a UserError if it was raised before a checkpoint was restored.

    Args:
        checkpoint: path of the checkpoint; None if training starts anew.
        restored: a callback of the training.
    """
    try:
        yield
    except ERRORS as error:
        if checkpoint is None or restored.begun or isinstance(error, torch.OutOfMemoryError) or is_lost(error):
            raise
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"{checkpoint} is damaged: it cannot be restored ({type(error).__name__}: {reason}). Delete it to continue "
            f"from the checkpoint before it, if {Path(checkpoint).parent} has one, or start a new run."
        ) from error


def unfit(content: Mapping[str, Any], module: TrainingModule) -> str | None:
    """Return why a checkpoint cannot be restored into a module, as text; None if it can.

    Args:
        content: content of the checkpoint.
        module: the module before its training, not sharded.
    """
    for name, kind in PARTS.items():
        if not isinstance(content.get(name), kind):
            return f"it has no {name}, or one of another type"
    weights: dict[str, Tensor] = module.state_dict()
    for name in {**weights, **content["state_dict"]}:
        if name not in weights or not _is_like(content["state_dict"].get(name), weights[name]):
            return f"{name} is missing, or differs in shape or type"
    for name in ("loops", "callbacks"):
        if not all(isinstance(leaf, int | float) for leaf in _leaves(content[name])):
            return f"{name} has something other than numbers"
    optimizer: Any = module.configure_optimizers()["optimizer"]
    try:
        return _unfit_optimizer(content["optimizer_states"], optimizer) or _unfit_schedule(
            content["lr_schedulers"], len(optimizer.param_groups)
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        return f"the state of the optimizer or of its schedule has other content ({type(error).__name__})"


def _unfit_optimizer(states: list[Any], optimizer: Optimizer) -> str | None:
    """Return why the states of the optimiser do not fit its parameters; None if they do."""
    parameters = [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]
    (state,) = states
    for number, entries in state["state"].items():
        parameter, own = parameters[number]
        for name in MUON if _is_of_muon(own) else ADAMW:
            if not _is_like(entries[name], parameter):
                return f"{name} of parameter {number} differs in shape or type"
        if not _is_of_muon(own) and entries["step"].numel() != 1:
            return f"the step of parameter {number} is not a number"
    for own, given in zip(optimizer.param_groups, state["param_groups"], strict=True):
        further = [given["momentum"]] if _is_of_muon(own) else given["betas"]
        for value in (given["lr"], given["weight_decay"], given["eps"], *further):
            if not isinstance(value, int | float):
                return f"an option of the optimizer is {value!r}, which is not a number"
    return None


def _is_of_muon(group: Mapping[str, Any]) -> bool:
    """Return whether a group of parameters is trained by Muon."""
    return "momentum" in group


def _unfit_schedule(schedules: list[Any], groups: int) -> str | None:
    """Return why the state of the schedule of the learning rate is not one of ``groups`` rates; None if it is."""
    (schedule,) = schedules
    rates = schedule["base_lrs"]
    numbers = [*rates, schedule["last_epoch"], schedule["_step_count"]]
    if len(rates) != groups or not all(isinstance(value, int | float) for value in numbers):
        return "the schedule of the learning rate has other content"
    return None


def _is_like(given: Any, expected: Tensor) -> bool:
    """Return whether a value is a tensor of the same shape and of a type of the same kind."""
    if not isinstance(given, Tensor):
        return False
    return given.shape == expected.shape and given.is_floating_point() == expected.is_floating_point()


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(value)
    else:
        yield tree
