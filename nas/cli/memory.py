"""Lower bounds on the memory and the time of a training, from its sizes, before anything is allocated.

They count only what every training of these sizes needs. So a refused training could not have run.
"""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nas.config import RunConfig, TrainConfig, flat
from nas.distributed.devices import machine_memory, peak_flops, precision_here
from nas.distributed.launch import launched
from nas.errors import UserError, user_errors, warn
from nas.runs.model_files import least_parameters, load_architecture
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Layer

GIB = 2**30
DAY = 86400
BYTES_PER_PARAMETER = {"adamw": 16, "muon": 12}
"""A float32 parameter, its gradient, and the two moments of AdamW or the momentum of Muon."""
BYTES_PER_TOKEN = 17
"""Token id and target in int64, and whether the token is planted."""
HALF = 2
"""Bytes of an activation in the narrowest precision."""
MODEL = (
    *("model.layers", "model.width", "model.mlp_width", "model.linear_heads", "model.key_dim"),
    *("model.value_dim", "model.conv_size"),
)
"""Options that decide the number of parameters, beside those of the vocabulary."""
VOCABULARY = ("vocab_size", "keys", "values", "words", "noise", "modulus")
"""Options of tasks that decide the number of token ids."""
CPU_FLOPS = 1e11
"""FLOPs per second of a fast CPU core."""


class Need(NamedTuple):
    """Memory that a training needs.

    Attributes:
        bytes: number of bytes, at least.
        what: the purpose, as text for messages.
        options: the options that decide the number, with their values, as text for messages.
    """

    bytes: int
    what: str
    options: str


class Sizes(NamedTuple):
    """Lower bounds on the sizes of a model, and what decides them.

    Attributes:
        parameters: number of parameters.
        activations: numbers that are held at once for a token: the input of each layer, that of its MLP's end (with
            activation checkpointing of one layer alone), and the logits.
        options: the sizes as text for messages.
    """

    parameters: int
    activations: int
    options: str

    @classmethod
    def of(cls, config: RunConfig) -> "Sizes":
        """Return the sizes of the architecture file that is to be trained, else those of the model's options."""
        vocabulary = _vocab_size(config)
        if isinstance(config, TrainConfig) and (file := _file_of(config, vocabulary)) is not None:
            one = load_architecture(file)
            one = replace(one, vocab_size=max(vocabulary, one.vocab_size))
            sizes = ", ".join(f"{name}={getattr(one, name)}" for name in ("vocab_size", "width", "mlp_width"))
            options = f"architecture={file}, with {len(one.layers)} layers, {sizes},"
        else:
            model = config.model
            with user_errors():
                one = model.architecture([Layer("linear", model.chunk_size)] * model.layers, vocabulary)
            options = _given(config, *MODEL, *(f"data.{name}" for name in VOCABULARY if hasattr(config.data, name)))
        widths = [layer.mlp_width or one.mlp_width for layer in one.layers]
        hidden = max(widths) if config.trainer.activation_checkpointing else sum(widths)
        return cls(least_parameters(one), len(one.layers) * one.width + hidden + one.vocab_size, options)


def check_memory(config: RunConfig, device: torch.device) -> None:
    """Raise a UserError if a training needs more memory than this machine has; warn if it takes days.

    Args:
        config: options of the training, each within its bounds.
        device: device of the training.
    """
    machine = machine_memory()
    _check(_of_data(config), machine, "this machine")
    there = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else machine
    sizes = Sizes.of(config)
    for need in (_of_parameters(config, sizes), _of_activations(config, sizes)):
        _check(need, there, "the GPU" if device.type == "cuda" else "this machine")
    _warn_of_days(config, sizes, device)


def _file_of(config: TrainConfig, vocabulary: int) -> Path | None:
    """Return the path of the architecture file; None if there is no such file, or for the name of a baseline."""
    path = Path(config.architecture)
    with user_errors():
        return (
            path if path.is_file() and not baselines.build(config.architecture, config.model, vocabulary, 1) else None
        )


def _vocab_size(config: RunConfig) -> int:
    """Return the number of token ids that the options of a task give, 1 if they give none."""
    data: Any = config.data
    if getattr(data, "vocab_size", None) is not None:
        return int(data.vocab_size)
    kinds = sum(getattr(data, kind, 0) for kind in ("keys", "values", "words", "noise"))
    return int(kinds or getattr(data, "modulus", 1))


def _of_parameters(config: RunConfig, sizes: Sizes) -> Need:
    shards = launched().world if config.trainer.strategy == "fsdp" else 1
    needed = BYTES_PER_PARAMETER[config.trainer.optimizer] * sizes.parameters // shards
    return Need(needed, "parameters and the state of the optimizer", sizes.options)


def _of_activations(config: RunConfig, sizes: Sizes) -> Need:
    """Return the memory of activations that the backward pass reads."""
    data = config.data
    tokens = -(-data.batch_size * data.length // (launched().world * config.trainer.accumulate))
    options = f"{_given(config, 'data.batch_size', 'data.length')}, {sizes.options}"
    return Need(HALF * tokens * sizes.activations, "activations of a batch", options)


def _of_data(config: RunConfig) -> Need:
    """Return the memory of the validation batches, which are held for one sequence length at a time."""
    data = config.data
    longest = max((max(1, data.batch_size // factor) * factor for factor in data.length_factors), default=0)
    return Need(
        BYTES_PER_TOKEN * data.validation_batches * longest * data.length,
        "validation batches",
        _given(config, "data.validation_batches", "data.batch_size", "data.length", "data.length_factors"),
    )


def _check(need: Need, there: int, where: str) -> None:
    if need.bytes > there:
        raise UserError(
            f"{need.options} need at least {need.bytes / GIB:,.0f} GiB for {need.what}, but {where} has "
            f"{there / GIB:,.0f} GiB; give smaller sizes."
        )


def _given(config: RunConfig, *names: str) -> str:
    """Return options with their values, as text for messages."""
    values = flat(asdict(config))
    return ", ".join(f"{name}={values[name]}" for name in names)


def least_seconds(config: RunConfig, parameters: int, device: torch.device) -> float:
    """Return a lower bound on the duration of a training, at the peak speed of the device; 0 if that is not known."""
    trainer, data = config.trainer, config.data
    validations = trainer.steps // trainer.validate_every + 1
    tokens = data.batch_size * data.length * (trainer.steps + validations * data.validation_batches / 3)
    peak = peak_flops(device, precision_here(trainer)) if device.type == "cuda" else CPU_FLOPS * (os.cpu_count() or 1)
    return 0.0 if peak is None else 6 * parameters * tokens / launched().world / peak


def _warn_of_days(config: RunConfig, sizes: Sizes, device: torch.device) -> None:
    """Warn if training takes a day or more even at the peak speed of the device."""
    trainer, data = config.trainer, config.data
    days = least_seconds(config, sizes.parameters, device) / DAY
    if days >= 1 and launched().first:
        warn(
            f"trainer.steps={trainer.steps} with data.batch_size={data.batch_size} and data.length={data.length} takes "
            f"more than {days:,.0f} days even at the peak speed of this machine."
        )
