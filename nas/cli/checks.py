"""What the options of every command may be, checked before anything is written; data and budget check their own."""

import math
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException

from nas.config import RunConfig, SweepConfig, TrainerConfig
from nas.distributed.collectives import check_batch_size
from nas.distributed.devices import AUTO
from nas.distributed.strategies import root_device
from nas.errors import UserError
from nas.relaxations import RELAXATIONS


class Range(NamedTuple):
    """Whether a number is allowed, and the advice where it is not."""

    allows: Callable[[float], bool]
    advice: str


COUNT = Range(lambda x: x >= 1, "give 1 or more")
POSITIVE = Range(lambda x: 0 < x < math.inf, "give a number over 0")
NOT_NEGATIVE = Range(lambda x: 0 <= x < math.inf, "give 0 or more")
FRACTION = Range(lambda x: 0 <= x <= 1, "give a number from 0 to 1")

RANGES = {
    "model.layers": COUNT,
    "model.chunk_size": COUNT,
    "relaxation.temperature_start": POSITIVE,
    "relaxation.temperature_end": POSITIVE,
    "trainer.steps": COUNT,
    "trainer.learning_rate": POSITIVE,
    "trainer.router_learning_rate": NOT_NEGATIVE,
    "trainer.architecture_learning_rate": NOT_NEGATIVE,
    "trainer.router_eps": POSITIVE,
    "trainer.final_learning_rate": FRACTION,
    "trainer.warmup_steps": NOT_NEGATIVE,
    "trainer.weight_decay": NOT_NEGATIVE,
    "trainer.beta2": Range(lambda x: 0 <= x < 1, "give a number from 0 to below 1"),
    "trainer.gradient_clip": NOT_NEGATIVE,
    "trainer.log_every": COUNT,
    "trainer.validate_every": COUNT,
    "trainer.checkpoint_every": COUNT,
}


def check(config: RunConfig) -> None:
    """UserError for the first option that cannot work."""
    for option, allowed in RANGES.items():
        value = attrgetter(option)(config)
        if not allowed.allows(value):
            raise UserError(f"{option}={value} is not allowed; {allowed.advice}.")
    check_choice("relaxation.name", config.relaxation.name, RELAXATIONS)
    if config.relaxation.router is not None:
        check_choice("relaxation.router", config.relaxation.router, RELAXATIONS)
    if config.trainer.cuda_graphs not in (AUTO, True, False):
        raise UserError(f"trainer.cuda_graphs={config.trainer.cuda_graphs} is unknown; give auto, true or false.")
    if isinstance(config, SweepConfig):
        _check_one_device(config.trainer)
    _check_device(config.trainer)
    check_batch_size(config.data.batch_size)


def check_choice(option: str, given: str, choices: Collection[str]) -> None:
    """UserError where an option is none of its choices."""
    if given not in choices:
        raise UserError(f"{option}={given} is unknown; choose one of: {', '.join(choices)}.")


def _check_one_device(trainer: TrainerConfig) -> None:
    """UserError where a trial of a sweep would need several."""
    devices = trainer.devices
    if devices not in (AUTO, 1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise UserError(f"trainer.devices={devices}: a trial has one device; give 1, and sweep.workers for more.")


def _check_device(trainer: TrainerConfig) -> None:
    """UserError where Lightning cannot compute on these devices in this precision."""
    try:
        root_device(trainer)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise UserError(
            f"trainer.accelerator={trainer.accelerator}, trainer.devices={trainer.devices} and "
            f"trainer.precision={trainer.precision} cannot work here: {error}"
        ) from error
