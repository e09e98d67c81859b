"""The options of the alignment: how many steps it has, and what it cannot be combined with."""

from collections.abc import Mapping

from nas.config import RunConfig, SearchConfig
from nas.errors import UserError

SHARE = 10
"""Steps of a training for each step of its alignment, unless `align.steps` says otherwise."""


def alignment_steps(config: RunConfig) -> int:
    """Return the number of steps of the alignment of a run; 0 for none."""
    if not isinstance(config, SearchConfig) or config.model.path is None:
        return 0
    return config.trainer.steps // SHARE if config.align.steps is None else config.align.steps


def check_alignment(config: RunConfig) -> None:
    """Raise a UserError if a search cannot learn from a pretrained model, but is to."""
    if isinstance(config, SearchConfig):
        values = {"align.steps": config.align.steps, "align.distillation": config.align.distillation}
        check_original(config, values, "align.steps", alignment_steps(config))


def check_original(config: SearchConfig, values: Mapping[str, float | None], option: str, steps: int) -> None:
    """Raise a UserError if a stage needs a pretrained model that is not there, or whole layers that are split.

    Args:
        config: config of the search.
        values: options that need a pretrained model unless they are 0 or null.
        option: name of the option with the steps of the stage.
        steps: steps of the stage; 0 for none.
    """
    given = [f"{name}={value:g}" for name, value in values.items() if value]
    if given and config.model.path is None:
        raise UserError(
            f"{given[0]} needs a pretrained model to learn from, but model={config.model.name} starts from random "
            f"weights; give model=pretrained model.path=DIR, or omit {given[0].partition('=')[0]}."
        )
    if steps and not given:
        given = [f"{option}=null ({steps})"]
    sharing = config.trainer.context_parallel
    splits = {
        "trainer.strategy=fsdp": (config.trainer.strategy == "fsdp", "trainer.strategy=ddp"),
        f"trainer.context_parallel={sharing}": (sharing > 1, "trainer.context_parallel=1"),
    }
    for setting, (is_set, instead) in splits.items():
        if given and is_set:
            name = given[0].partition("=")[0]
            raise UserError(
                f"{given[0]} computes whole layers of whole sequences, which {setting} splits; give {instead} or "
                f"{name}=0."
            )
