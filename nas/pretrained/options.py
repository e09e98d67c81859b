"""The options of `model=pretrained`: most follow from the folder in `model.path`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.errors import UserError
from nas.pretrained.description import Description, describe
from nas.runs.paths import absolute

NAME = "pretrained"
"""Name of the file of these options in conf/model."""
WINDOW = 512
"""The value of model.window in that file. Models with sliding layers have another one."""


def fill(model: DictConfig) -> None:
    """Set the options of a model that its pretrained weights fix, in place; other models stay as they are.

    Raises:
        UserError: the folder is not given or cannot be used, or an option differs from what the weights fix.
    """
    if model.path is None:
        if model.name == NAME:
            raise UserError(
                "model=pretrained needs model.path=DIR, the folder of a pretrained model with config.json and weights "
                "in safetensors."
            )
        return
    model.path = absolute("model.path", model.path)
    found = describe(Path(model.path))
    for name, value in _fixed(found).items():
        _set(model, name, value)
    if OmegaConf.is_missing(model, "routing_heads"):
        model.routing_heads = found.backbone.key_value_heads
    if found.window is not None:
        _set(model, "window", found.window, unset=(WINDOW,))


def _fixed(found: Description) -> dict[str, Any]:
    """Return the options that the weights fix. Models of this kind have no short convolutions: kernels of one token."""
    return {**found.sizes, "conv_size": 1, "backbone": json.dumps(asdict(found.backbone))}


def _set(model: DictConfig, name: str, value: Any, unset: tuple[Any, ...] = (None,)) -> None:
    """Set an option, unless it has another value than those that count as not given."""
    if OmegaConf.is_missing(model, name) or model[name] in unset:
        model[name] = value
    elif model[name] != value:
        raise _differs(model, name, value)


def _differs(model: DictConfig, name: str, value: Any) -> UserError:
    if model.name != NAME:
        return UserError(
            f"model.path={model.path} is a pretrained model, but model={model.name} has sizes of its own; give "
            f"model={NAME}."
        )
    return UserError(f"model.{name}={model[name]}, but model.path={model.path} has {value}; omit model.{name}.")
