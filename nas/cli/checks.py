"""Checks of the options of every command, before anything is written; other modules check what they alone know."""

from collections.abc import Collection
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from nas.cli.context import check_context
from nas.cli.memory import check_memory
from nas.config import CompareConfig, RunConfig, SweepConfig, TrainerConfig, flat, interpolated
from nas.distributed.collectives import check_batch_size
from nas.distributed.devices import AUTO
from nas.distributed.rendezvous import from_first
from nas.distributed.strategies import root_device
from nas.errors import UserError, user_errors
from nas.options.training import BEST, LAST, OPTIMIZERS, SCHEDULES
from nas.relaxations import RELAXATIONS, UNLEARNT
from nas.runs.folder import plain
from nas.runs.options import FOLDER, PLACES
from nas.search_spaces.layers import routed_layers
from nas.search_spaces.options import PLAIN, Option, option_of
from nas.training.alignment.options import check_alignment
from nas.training.healing.options import check_healing
from nas.training.loggers import check_loggers
from nas.training.step.compiled import check_compiler

DELETE = 127
"""The control character after the printable ones of ASCII."""


def check(config: RunConfig) -> None:
    """Raise a UserError for the first option, or combination of options, that cannot work, before anything is written.

    The recipe of a comparison of runs is not complete yet: `nas.comparisons.run` checks its combinations.
    """
    if found := interpolated(asdict(config)):
        raise UserError(f"{found} contains ${{, which stored configs cannot have; give a value without it.")
    check_values(config)
    check_choice("relaxation.name", config.relaxation.name, RELAXATIONS)
    if config.relaxation.router is not None:
        check_choice("relaxation.router", config.relaxation.router, RELAXATIONS)
    check_choice("trainer.schedule", config.trainer.schedule, SCHEDULES)
    check_choice("trainer.optimizer", config.trainer.optimizer, OPTIMIZERS)
    check_choice("trainer.answer", config.trainer.answer, (LAST, BEST))
    if config.trainer.cuda_graphs not in (AUTO, True, False):
        raise UserError(f"trainer.cuda_graphs={config.trainer.cuda_graphs} is unknown; give auto, true or false.")
    check_loggers(config.logger)
    if isinstance(config, SweepConfig):
        _check_one_device(config.trainer)
    _check_device(config.trainer)
    check_context(config)
    check_batch_size(config.data.batch_size, config.trainer.accumulate, config.trainer.context_parallel)
    if not (isinstance(config, CompareConfig) and config.runs):  # options of its runs are still to come
        check_together(config)


def check_together(config: RunConfig) -> None:
    """Raise a UserError for the first combination of options that cannot work; each must be allowed by itself."""
    _check_warmup(config.trainer)
    if config.budget.by_layer and config.relaxation.name in UNLEARNT:
        raise UserError(
            f"budget.by_layer=true needs layers that are learnt, but relaxation.name={config.relaxation.name} draws "
            "them; give budget.by_layer=false, or searcher=gradient."
        )
    if config.trainer.strategy == "fsdp":
        _check_sharding(config)
    check_alignment(config)
    check_healing(config)
    with user_errors():
        routed_layers(config.model)
    _check_positions(config)
    device = root_device(config.trainer)
    if config.trainer.compile:
        _check_compile(config.trainer, device)
    check_memory(config, device)


def check_values(config: Any, group: str = "") -> None:
    """Raise a UserError for the first option whose value its field does not allow.

    Args:
        config: dataclass of options and groups of options.
        group: prefix of the names of its options.
    """
    for own in fields(config):
        name, value = f"{group}{own.name}", getattr(config, own.name)
        if is_dataclass(value):
            check_values(value, f"{name}.")
        elif (advice := refusal(value, option_of(own))) is not None:
            raise UserError(f"{name}={shown(value)} is not allowed; {advice}.")


def refusal(value: Any, allowed: Option) -> str | None:
    """Return the advice for a value that an option may not have; None for an allowed value.

    Null is allowed, and a word in place of a number: other checks know the words, such as auto. The items of lists are
    checked like single values.
    """
    if isinstance(value, str):
        return _refusal_of_text(value, allowed.free_text)
    if isinstance(value, list):
        return next((advice for item in value if (advice := refusal(item, allowed)) is not None), None)
    if value is None or allowed.bounds is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return allowed.advice()
    return None if allowed.bounds.allow(value) else allowed.advice(value)


def _refusal_of_text(value: str, free: bool) -> str | None:
    if free:
        return None if value else "give at least one character"
    if not value.strip():
        return "give a text that is not blank"
    control = any(ord(letter) < ord(" ") or ord(letter) == DELETE for letter in value)
    return "give a text without line breaks and other control characters" if control else None


def shown(value: Any) -> str:
    """Return a value as text for messages, in the form of a command line; strings in quotes if they are unusual.

    >>> shown(True), shown([1, 2]), shown("  "), shown("a")
    ('true', '[1, 2]', "'  '", 'a')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) and refusal(value, PLAIN) is not None else str(value)


def check_same(config: Any) -> None:
    """Raise a UserError if this process has other options than the first process, except for places on its machine."""
    own = plain({name: value for name, value in flat(asdict(config)).items() if name not in (*FOLDER, *PLACES)})
    first = from_first(lambda: own)
    if different := [
        f"{name}={own.get(name, 'absent')} (it is {first.get(name, 'absent')} in process 0)"
        for name in {**first, **own}
        if first.get(name, "absent") != own.get(name, "absent")
    ]:
        raise UserError(f"the options differ: {'; '.join(different)}. Give all processes the same options.")


def check_choice(option: str, given: str, choices: Collection[str]) -> None:
    """Raise a UserError if the value of an option is not one of its choices."""
    if given not in choices:
        raise UserError(f"{option}={given} is unknown; choose one of: {', '.join(choices)}.")


def _check_warmup(trainer: TrainerConfig) -> None:
    """Raise a UserError if training would end before it reaches its learning rate."""
    if trainer.warmup_steps > trainer.steps:
        raise UserError(
            f"trainer.warmup_steps={trainer.warmup_steps} is over trainer.steps={trainer.steps}, so that the learning "
            f"rate is never reached; give trainer.warmup_steps={trainer.steps // 10}, or more steps."
        )


def _check_compile(trainer: TrainerConfig, device: torch.device) -> None:
    """Raise a UserError if a step cannot be compiled."""
    if trainer.cuda_graphs is True:
        raise UserError(
            "trainer.compile=true and trainer.cuda_graphs=true exclude each other: compiled steps are not recorded; "
            "give trainer.compile=false or trainer.cuda_graphs=auto."
        )
    check_compiler(device)


def _check_sharding(config: RunConfig) -> None:
    """Raise a UserError for an option that needs whole weights, which fsdp shards."""
    for option, value, needs, without in (
        ("budget.distillation", config.budget.distillation, "keeps a whole copy of the model", "0"),
        ("trainer.ema", config.trainer.ema, "keeps a whole copy of the model", "0"),
        ("trainer.optimizer", config.trainer.optimizer, "orthogonalises whole matrices", "adamw"),
    ):
        if str(value) not in ("0", "0.0", without):
            raise UserError(
                f"{option}={value if isinstance(value, str) else f'{value:g}'} {needs}, which trainer.strategy=fsdp "
                f"shards; give trainer.strategy=ddp or {option}={without}."
            )


def _check_positions(config: RunConfig) -> None:
    """Raise a UserError if training sequences are longer than the positions of the pretrained model."""
    with user_errors():
        structure = config.model.structure
    if structure is not None and config.data.length > structure.context:
        raise UserError(
            f"data.length={config.data.length} is beyond the context of model.path={config.model.path}, whose "
            f"positions are made for {structure.context} tokens; give data.length={structure.context} or less."
        )


def _check_one_device(trainer: TrainerConfig) -> None:
    """Raise a UserError if a trial of a sweep would need several devices."""
    devices = trainer.devices
    if devices not in (AUTO, 1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise UserError(f"trainer.devices={devices}, but a trial has one device; give 1, and sweep.workers for more.")


def _check_device(trainer: TrainerConfig) -> None:
    """Raise a UserError if Lightning cannot compute on these devices in this precision."""
    try:
        root_device(trainer)
    except (OverflowError, ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise UserError(
            f"trainer.accelerator={trainer.accelerator}, trainer.devices={trainer.devices} and "
            f"trainer.precision={trainer.precision} cannot work here: {error}"
        ) from error
