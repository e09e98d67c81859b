"""The tasks models are trained on; `build_task` makes the one a config names."""

from collections.abc import Callable
from dataclasses import asdict
from typing import cast

from nas.config import SCHEMAS, DataConfig
from nas.data.batch import HIGHER, IGNORE, Batch, Part, Scored, Task
from nas.data.mqar import MQAR
from nas.data.needle import Needle
from nas.data.recall import Recall
from nas.data.state_tracking import StateTracking
from nas.data.text import Text
from nas.errors import UserError, user_errors
from nas.plugins.installed import TASK
from nas.plugins.loading import find, known
from nas.plugins.registry import misbehaviour

TASKS: dict[str, Callable[..., Task]] = {
    "mqar": MQAR,
    "needle": Needle,
    "recall": Recall,
    "state_tracking": StateTracking,
    "text": Text,
}
"""The tasks of nas by name: each is called with its options, which `nas.config.SCHEMAS` lists, and the seed."""


def build_task(config: DataConfig, seed: int) -> Task:
    """The task of a config; UserError where its options cannot work."""
    options = asdict(config)
    del options["name"]
    factors = options.pop("length_factors")
    if 1 not in factors or min(factors) < 1:
        raise UserError(f"data.length_factors={factors} must be whole numbers from 1 on, with 1 among them.")
    with user_errors():
        task = _maker(config)(**options, seed=seed)
    for factor in factors:
        task.validation_batches(factor)  # a text too short for this is refused now rather than after the training
    return task


def _maker(config: DataConfig) -> Callable[..., Task]:
    """What makes the task of a config; UserError where its name is unknown, or does not go with its options."""
    added = None if config.name in TASKS else find(TASK, config.name)
    if added is None and config.name not in TASKS:
        raise UserError(
            f"data.name={config.name} is unknown; choose one of: {', '.join(sorted({*TASKS, *known(TASK)}))}."
        )
    if type(config) is not SCHEMAS[f"data/{config.name}_schema"]:
        raise UserError(f"data.name={config.name} does not go with the options given; give data={config.name}.")
    return TASKS[config.name] if added is None else lambda **options: _checked(config.name, added.make(**options))


def _checked(name: str, task: object) -> Task:
    """The task that a plugin made; UserError where it is none."""
    wanted = [*Task.__annotations__, *(own for own in vars(Task) if callable(getattr(Task, own)))]
    if lacking := [own for own in wanted if not own.startswith("_") and not hasattr(task, own)]:
        raise misbehaviour(TASK, name, "returned", f"return a nas.data.Task: this has no {', '.join(lacking)}", task)
    made = cast(Task, task)
    if made.quality not in HIGHER:
        raise misbehaviour(TASK, name, "has the quality", f"be one of: {', '.join(HIGHER)}", made.quality)
    return made


__all__ = ["IGNORE", "Batch", "Part", "Scored", "Task", "build_task"]
