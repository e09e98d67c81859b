"""The options of the healing: how many steps it has, and which sequences it can have."""

from nas.config import RunConfig, SearchConfig
from nas.data import Task
from nas.data.batch import longer_batch_of
from nas.distributed.launch import launched
from nas.errors import UserError, user_errors
from nas.training.alignment.options import check_original

SHARE = 4
"""Steps of a training for each step of the healing after it, unless `heal.steps` says otherwise."""


def healing_steps(config: RunConfig) -> int:
    """Return the number of steps of the healing of a run; 0 for none."""
    if not isinstance(config, SearchConfig) or config.model.path is None:
        return 0
    return config.trainer.steps // SHARE if config.heal.steps is None else config.heal.steps


def check_healing(config: RunConfig) -> None:
    """Raise a UserError if the answer of a search cannot learn from a pretrained model, but is to."""
    if not isinstance(config, SearchConfig):
        return
    steps, factor, length = healing_steps(config), config.heal.length_factor, config.data.length
    check_original(config, {"heal.steps": config.heal.steps}, "heal.steps", steps)
    with user_errors():
        structure = config.model.structure
    if steps and structure is not None and factor > 1 and length * factor > structure.context:
        raise UserError(
            f"heal.length_factor={factor} makes sequences of {length * factor} tokens, but the positions of "
            f"model.path={config.model.path} are made for {structure.context} tokens; give "
            f"heal.length_factor={max(1, structure.context // length)} or less."
        )


def check_healing_batches(config: SearchConfig, task: Task) -> None:
    """Raise a UserError if the sequences of the healing are to be longer, and the task has no such batches."""
    factor, size = config.heal.length_factor, config.data.batch_size
    if not healing_steps(config) or factor == 1:
        return
    given = f"heal.length_factor={factor}"
    longer_batch = longer_batch_of(task)
    if longer_batch is None:
        raise UserError(
            f"{given} makes sequences longer, which data={task.name} cannot do; give heal.length_factor=1, or "
            "data=text or data=tokens."
        )
    parts = launched().world * config.trainer.accumulate
    if size % (factor * parts):
        over = "" if parts == 1 else f" and splits them into {parts} parts (processes x trainer.accumulate)"
        raise UserError(
            f"{given} makes sequences {factor} times as long and batches as many times smaller{over}, but "
            f"data.batch_size={size} is no multiple of {factor * parts}; give such a multiple."
        )
    longer_batch(0, factor, "all")  # a text may be too short for them
