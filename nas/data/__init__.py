"""Tasks that models are trained on, and `build_task`, which makes the task of a config."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import cast

from nas.config import SCHEMAS, DataConfig
from nas.data.batch import (
    BYTE,
    HIGHER,
    IGNORE,
    TOKEN,
    Batch,
    Part,
    Scored,
    Task,
    byte_lengths_of,
    chance_of,
    token_of,
)
from nas.data.identifiers import Identifiers
from nas.data.mqar import MQAR
from nas.data.needle import Needle
from nas.data.recall import Recall
from nas.data.ruler import Ruler
from nas.data.state_tracking import StateTracking
from nas.data.text import Text
from nas.data.tokens import Tokens
from nas.errors import UserError, user_errors
from nas.plugins.installed import TASK
from nas.plugins.loading import find, known
from nas.plugins.registry import misbehaviour

TASKS: dict[str, Callable[..., Task]] = {
    "identifiers": Identifiers,
    "mqar": MQAR,
    "needle": Needle,
    "recall": Recall,
    "ruler": Ruler,
    "state_tracking": StateTracking,
    "text": Text,
    "tokens": Tokens,
}
"""The built-in tasks by name; each is called with the seed and its options, which `nas.config.SCHEMAS` lists."""


def build_task(config: DataConfig, seed: int) -> Task:
    """Return the task of a config; raise UserError if its options are invalid."""
    options = asdict(config)
    del options["name"]
    factors = options.pop("length_factors")
    if 1 not in factors or min(factors) < 1:
        raise UserError(f"data.length_factors={factors} must be whole numbers from 1 on, with 1 among them.")
    with user_errors():
        task = _maker(config)(**options, seed=seed)
    for factor in factors:
        task.validation_batches(factor)  # a too short text fails here rather than after the training
    return task


def _maker(config: DataConfig) -> Callable[..., Task]:
    """Return the class of a config's task; raise UserError if its name is unknown or does not fit its options."""
    added = None if config.name in TASKS else find(TASK, config.name)
    if added is None and config.name not in TASKS:
        raise UserError(
            f"data.name={config.name} is unknown; choose one of: {', '.join(sorted({*TASKS, *known(TASK)}))}."
        )
    if type(config) is not SCHEMAS[f"data/{config.name}_schema"]:
        raise UserError(f"data.name={config.name} does not fit the given options; give data={config.name}.")
    return TASKS[config.name] if added is None else lambda **options: _checked(config.name, added.make(**options))


def _checked(name: str, task: object) -> Task:
    """Return the task that a plugin made; raise UserError if it is no valid task."""
    wanted = [*Task.__annotations__, *(own for own in vars(Task) if callable(getattr(Task, own)))]
    if lacking := [own for own in wanted if not own.startswith("_") and not hasattr(task, own)]:
        raise misbehaviour(TASK, name, "returned", f"return a nas.data.Task: this has no {', '.join(lacking)}", task)
    made = cast(Task, task)
    if made.quality not in HIGHER:
        raise misbehaviour(TASK, name, "has the quality", f"be one of: {', '.join(HIGHER)}", made.quality)
    if (token := token_of(made)) not in (BYTE, TOKEN):
        raise misbehaviour(TASK, name, "has the tokens", f"be {BYTE} or {TOKEN}", token)
    if made.quality == "bits_per_byte" and token != BYTE and byte_lengths_of(made) is None:
        due = f"be bits_per_token, since it does not say that its tokens are bytes by token = {BYTE!r}"
        raise misbehaviour(TASK, name, "has the quality", due, made.quality)
    _check_chance(name, made)
    return made


def _check_chance(name: str, task: Task) -> None:
    """Raise UserError if the chance of a plugin's task is no method that returns a number."""
    chance = getattr(task, "chance", None)
    found = chance() if callable(chance) else chance
    if chance is not None and not (callable(chance) and isinstance(found, int | float) and math.isfinite(found)):
        due = "be a method that returns the quality of a model that ignores its input"
        raise misbehaviour(TASK, name, "has the chance", due, found)


__all__ = ["IGNORE", "Batch", "Part", "Scored", "Task", "build_task", "byte_lengths_of", "chance_of", "token_of"]
