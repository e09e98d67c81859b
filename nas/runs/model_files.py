"""The model in a run folder: `architecture.json` and `model.safetensors`. Reading them executes no code."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save
from torch import nn

from nas.distributed.devices import machine_memory
from nas.errors import UserError
from nas.files.checksums import recording, require_intact
from nas.runs.folder import ARCHITECTURE, WEIGHTS
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.backbone import attention_weights


def load_architecture(path: Path) -> Architecture:
    """Return the architecture of an `architecture.json`; raise a UserError if it cannot be read."""
    require_intact(path.parent, path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"architecture={path} cannot be read ({error}); give the {ARCHITECTURE} of a run.") from error
    try:
        found = json.loads(text)
        found = Architecture.from_dict(found.get("architecture", found) if isinstance(found, dict) else found)
    except (ValueError, RecursionError) as error:
        raise UserError(f"architecture={path} is not an architecture: {error}") from error
    _require_memory(path, found)
    return found


def write_weights(folder: Path, model: nn.Module) -> None:
    """Write a model's weights as safetensors into a run folder."""
    with recording(folder, folder / WEIGHTS) as temporary:
        temporary.write_bytes(save({name: weight.detach().cpu().contiguous() for name, weight in _weights(model)}))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights that `write_weights` wrote for the same architecture.

    Raises:
        UserError: the weights are damaged or do not fit the model, which then stays as it was.
    """
    require_intact(path.parent, path)
    try:
        with safe_open(path, "pt") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        expected = {name: tuple(weight.shape) for name, weight in _weights(model)}
        if different := sorted(name for name in {**expected, **stored} if expected.get(name) != stored.get(name)):
            name = different[0]
            raise UserError(
                f"{path} does not hold the weights of this architecture: {name} has shape {stored.get(name, 'none')}, "
                f"and the model needs {expected.get(name, 'none')} ({len(different)} weights differ)."
            )
        load_model(model, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of this architecture: {error}") from error


def least_parameters(one: Architecture) -> int:
    """Return a lower bound on the number of parameters: embedding, and MLP and short convolutions of each layer."""
    hidden = sum(layer.mlp_width or one.mlp_width for layer in one.layers)
    weights = one.width * ((1 if one.tie_embeddings else 2) * one.vocab_size + 3 * hidden)
    if one.backbone is not None:
        return weights + len(one.layers) * attention_weights(one.width, one.softmax_heads, one.key_dim, one.backbone)
    channels = one.linear_heads * (2 * one.key_dim + one.value_dim)
    return weights + len(one.layers) * channels * (one.width + one.conv_size)


def _require_memory(path: Path, one: Architecture) -> None:
    """Raise a UserError if the weights of an architecture alone need more memory than this machine has."""
    needed, there = 4 * least_parameters(one) / 2**30, machine_memory() / 2**30
    if needed > there:
        raise UserError(
            f"architecture={path} has vocab_size={one.vocab_size}, width={one.width} and {len(one.layers)} layers, "
            f"whose weights need at least {needed:,.0f} GiB, but this machine has {there:,.0f} GiB; give another "
            "architecture, or correct the file."
        )


def _weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each weight once, a tied weight under its first name."""
    seen: set[int] = set()
    for name, weight in model.state_dict(keep_vars=True).items():
        if id(weight) not in seen:
            seen.add(id(weight))
            yield name, weight
