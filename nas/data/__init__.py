"""The tasks models are trained on; `build_task` makes the one a config names."""

from dataclasses import asdict

from nas.config import DataConfig, RecallConfig, TextConfig
from nas.data.batch import IGNORE, Batch, Task
from nas.data.recall import Recall
from nas.data.text import Text
from nas.errors import UserError


def build_task(config: DataConfig, seed: int) -> Task:
    """The task of a config; UserError where its options cannot work."""
    options = asdict(config)
    del options["name"]
    factors = options.pop("length_factors")
    if 1 not in factors or min(factors) < 1:
        raise UserError(f"data.length_factors={factors} must be whole numbers from 1 on, with 1 among them.")
    if isinstance(config, RecallConfig):
        return Recall(**options, seed=seed)
    assert isinstance(config, TextConfig)
    return Text(**options, seed=seed)


__all__ = ["IGNORE", "Batch", "Task", "build_task"]
