"""Lower bounds on the memory and the time of a training, from its options alone, before anything is allocated.

They count only what every training of these sizes needs. So a refused training could not have run.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from nas.config import RunConfig
from nas.distributed.devices import machine_memory, peak_flops, precision_here
from nas.distributed.launch import launched
from nas.errors import UserError, warn

GIB = 2**30
DAY = 86400
BYTES_PER_PARAMETER = 16
"""A float32 parameter, its gradient, and the two moments of AdamW."""
BYTES_PER_TOKEN = 17
"""Token id and target in int64, and whether the token is planted."""
HALF = 2
"""Bytes of an activation in the narrowest precision."""
CPU_FLOPS = 1e11
"""FLOPs per second of a fast CPU core."""


class Need(NamedTuple):
    """Memory that a training needs.

    Attributes:
        bytes: number of bytes, at least.
        what: the purpose, as text for messages.
        options: names of the options that decide the number.
    """

    bytes: int
    what: str
    options: Sequence[str]


def check_memory(config: RunConfig, device: torch.device) -> None:
    """Raise a UserError if a training needs more memory than this machine has; warn if it takes days.

    Args:
        config: options of the training, each within its bounds.
        device: device of the training.
    """
    machine = machine_memory()
    _check(config, _of_data(config), machine, "this machine")
    there = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else machine
    for need in (_of_parameters(config), _of_activations(config)):
        _check(config, need, there, "the GPU" if device.type == "cuda" else "this machine")
    _warn_of_days(config, device)


def parameters(config: RunConfig) -> int:
    """Return a lower bound on the number of parameters: embedding, and MLP and short convolutions of each layer."""
    model = config.model
    embeddings = (1 if model.tie_embeddings else 2) * _vocab_size(config) * model.width
    channels = model.linear_heads * (2 * model.key_dim + model.value_dim)
    return embeddings + model.layers * (3 * model.width * model.mlp_width + channels * (model.width + model.conv_size))


def _vocab_size(config: RunConfig) -> int:
    """Return the number of token ids of a task of nas, 1 for a task of a plugin."""
    data: Any = config.data
    if hasattr(data, "vocab_size"):
        return int(data.vocab_size)
    if hasattr(data, "noise"):
        return int(data.keys + data.values + data.noise)
    return int(getattr(data, "modulus", 1))


def _of_parameters(config: RunConfig) -> Need:
    shards = launched().world if config.trainer.strategy == "fsdp" else 1
    options = ["model.layers", "model.width", "model.mlp_width", "model.linear_heads", "model.key_dim"]
    options += ["model.value_dim", "model.conv_size", *_vocabulary(config)]
    return Need(BYTES_PER_PARAMETER * parameters(config) // shards, "parameters and the state of AdamW", options)


def _vocabulary(config: RunConfig) -> list[str]:
    own = ("vocab_size", "keys", "values", "noise", "modulus")
    return [f"data.{name}" for name in own if hasattr(config.data, name)]


def _of_activations(config: RunConfig) -> Need:
    """Return the memory of activations that the backward pass reads: the input of each layer and of its MLP's end."""
    model, data = config.model, config.data
    tokens = -(-data.batch_size // launched().world) * data.length
    each = model.layers * (model.width + model.mlp_width) + _vocab_size(config)
    options = ["data.batch_size", "data.length", "model.layers", "model.width", "model.mlp_width", *_vocabulary(config)]
    return Need(HALF * tokens * each, "activations of a batch", options)


def _of_data(config: RunConfig) -> Need:
    """Return the memory of the validation batches, which are held for one sequence length at a time."""
    data = config.data
    longest = max((max(1, data.batch_size // factor) * factor for factor in data.length_factors), default=0)
    return Need(
        BYTES_PER_TOKEN * data.validation_batches * longest * data.length,
        "validation batches",
        ["data.validation_batches", "data.batch_size", "data.length", "data.length_factors"],
    )


def _check(config: RunConfig, need: Need, there: int, where: str) -> None:
    if need.bytes <= there:
        return
    given = ", ".join(f"{name}={_value(config, name)}" for name in need.options)
    raise UserError(
        f"{given} need at least {need.bytes / GIB:,.0f} GiB for {need.what}, but {where} has {there / GIB:,.0f} GiB; "
        "give smaller sizes."
    )


def _value(config: RunConfig, name: str) -> Any:
    group, _, own = name.partition(".")
    return getattr(getattr(config, group), own)


def least_seconds(config: RunConfig, device: torch.device) -> float:
    """Return a lower bound on the duration of a training, at the peak speed of the device; 0 if that is not known."""
    trainer, data = config.trainer, config.data
    validations = trainer.steps // trainer.validate_every + 1
    tokens = data.batch_size * data.length * (trainer.steps + validations * data.validation_batches / 3)
    peak = peak_flops(device, precision_here(trainer)) if device.type == "cuda" else CPU_FLOPS * (os.cpu_count() or 1)
    return 0.0 if peak is None else 6 * parameters(config) * tokens / launched().world / peak


def _warn_of_days(config: RunConfig, device: torch.device) -> None:
    """Warn if training takes a day or more even at the peak speed of the device."""
    trainer, data = config.trainer, config.data
    days = least_seconds(config, device) / DAY
    if days >= 1 and launched().first:
        warn(
            f"trainer.steps={trainer.steps} with data.batch_size={data.batch_size} and data.length={data.length} takes "
            f"more than {days:,.0f} days even at the peak speed of this machine."
        )
