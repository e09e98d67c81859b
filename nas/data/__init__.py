"""The tasks models are trained on; `build_task` makes the one a config names."""

from collections.abc import Callable
from dataclasses import asdict

from nas.config import DataConfig, MQARConfig, NeedleConfig, RecallConfig, StateTrackingConfig, TextConfig
from nas.data.batch import IGNORE, Batch, Part, Scored, Task
from nas.data.mqar import MQAR
from nas.data.needle import Needle
from nas.data.recall import Recall
from nas.data.state_tracking import StateTracking
from nas.data.text import Text
from nas.errors import UserError

TASKS: dict[type[DataConfig], Callable[..., Task]] = {
    RecallConfig: Recall,
    MQARConfig: MQAR,
    NeedleConfig: Needle,
    StateTrackingConfig: StateTracking,
    TextConfig: Text,
}
"""What makes a task of which config: called with its options, and the seed."""


def build_task(config: DataConfig, seed: int) -> Task:
    """The task of a config; UserError where its options cannot work."""
    options = asdict(config)
    del options["name"]
    factors = options.pop("length_factors")
    if 1 not in factors or min(factors) < 1:
        raise UserError(f"data.length_factors={factors} must be whole numbers from 1 on, with 1 among them.")
    task = TASKS[type(config)](**options, seed=seed)
    for factor in factors:
        task.validation_batches(factor)  # a text too short for this is refused now rather than after the training
    return task


__all__ = ["IGNORE", "Batch", "Part", "Scored", "Task", "build_task"]
