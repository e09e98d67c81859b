"""Checks of single options in every command, before anything is written; other modules check combinations."""

from collections.abc import Collection
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException

from nas.config import RunConfig, SweepConfig, TrainerConfig, flat, interpolated
from nas.distributed.collectives import check_batch_size
from nas.distributed.devices import AUTO
from nas.distributed.rendezvous import from_first
from nas.distributed.strategies import root_device
from nas.errors import UserError
from nas.relaxations import RELAXATIONS
from nas.runs.folder import plain
from nas.runs.options import FOLDER, PLACES
from nas.search_spaces.options import BOUNDS, Bounds


def check(config: RunConfig) -> None:
    """Raise a UserError for the first option that cannot work."""
    if found := interpolated(asdict(config)):
        raise UserError(f"{found} contains ${{, which stored configs cannot have; give a value without it.")
    check_bounds(config)
    check_choice("relaxation.name", config.relaxation.name, RELAXATIONS)
    if config.relaxation.router is not None:
        check_choice("relaxation.router", config.relaxation.router, RELAXATIONS)
    if config.trainer.cuda_graphs not in (AUTO, True, False):
        raise UserError(f"trainer.cuda_graphs={config.trainer.cuda_graphs} is unknown; give auto, true or false.")
    if isinstance(config, SweepConfig):
        _check_one_device(config.trainer)
    _check_device(config.trainer)
    check_batch_size(config.data.batch_size)


def check_bounds(config: Any, group: str = "") -> None:
    """Raise a UserError for the first numeric option outside the `Bounds` of its field.

    Args:
        config: dataclass of options and groups of options.
        group: prefix of the names of its options.
    """
    for own in fields(config):
        name, value = f"{group}{own.name}", getattr(config, own.name)
        bounds: Bounds | None = own.metadata.get(BOUNDS)
        if is_dataclass(value):
            check_bounds(value, f"{name}.")
        elif bounds is not None and value is not None and not bounds.allow(value):
            raise UserError(f"{name}={value} is not allowed; {bounds.advice}.")


def check_same(config: Any) -> None:
    """Raise a UserError if this process has other options than the first process, except for places on its machine."""
    own = plain({name: value for name, value in flat(asdict(config)).items() if name not in (*FOLDER, *PLACES)})
    first = from_first(lambda: own)
    if different := [name for name in {**first, **own} if first.get(name, "absent") != own.get(name, "absent")]:
        name = different[0]
        raise UserError(
            f"{name}={own.get(name, 'absent')} in this process, but {name}={first.get(name, 'absent')} in process 0 "
            f"({len(different)} options differ); give all processes the same options."
        )


def check_choice(option: str, given: str, choices: Collection[str]) -> None:
    """Raise a UserError if the value of an option is not one of its choices."""
    if given not in choices:
        raise UserError(f"{option}={given} is unknown; choose one of: {', '.join(choices)}.")


def _check_one_device(trainer: TrainerConfig) -> None:
    """Raise a UserError if a trial of a sweep would need several devices."""
    devices = trainer.devices
    if devices not in (AUTO, 1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise UserError(f"trainer.devices={devices}, but a trial has one device; give 1, and sweep.workers for more.")


def _check_device(trainer: TrainerConfig) -> None:
    """Raise a UserError if Lightning cannot compute on these devices in this precision."""
    try:
        root_device(trainer)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise UserError(
            f"trainer.accelerator={trainer.accelerator}, trainer.devices={trainer.devices} and "
            f"trainer.precision={trainer.precision} cannot work here: {error}"
        ) from error
