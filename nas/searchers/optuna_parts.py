"""Optuna's samplers and pruners by name, with their options."""

import importlib.util
import inspect
import logging
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import optuna

from nas.errors import UserError

NEEDS = {"CmaEs": "cmaes"}
"""Packages that a sampler imports only at its first draw, by sampler."""


def silence() -> None:
    """Hide Optuna's messages on trials and experimental features; the commands show their own progress."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def class_name(option: str, given: str, module: ModuleType, suffix: str, also: str = "") -> str:
    """Return the name of an Optuna class from a name in any case, with or without its suffix.

    Args:
        option: option that has the name.
        given: value of the option.
        module: module of Optuna with the class.
        suffix: suffix of its class names.
        also: other values of the option, for the message.

    Raises:
        UserError: the module has no class of this name.
    """
    known = [name for name in module.__all__ if name.endswith(suffix) and not name.startswith("Base")]
    for name in known:
        if given.lower() in (name.lower(), name.removesuffix(suffix).lower()):
            return name
    raise UserError(
        f"{option}={given} is unknown; choose one of: {also}{', '.join(name.removesuffix(suffix) for name in known)}."
    )


def parameters(module: ModuleType, name: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class by name."""
    return inspect.signature(getattr(module, name)).parameters


def build(option: str, module: ModuleType, name: str, options: Mapping[str, Any]) -> Any:
    """Return a sampler or pruner with its options; an inner sampler or pruner is given as {name: ..., options}.

    Raises:
        UserError: the class does not take these options, or needs a package that is not installed.
    """
    known = parameters(module, name)
    short = name.removesuffix("Sampler").removesuffix("Pruner")
    needed = NEEDS.get(short)
    if needed is not None and importlib.util.find_spec(needed) is None:
        raise UserError(f"{option}={short} needs the package {needed}: pip install {needed}.")
    if unknown := sorted(options.keys() - known.keys()):
        raise UserError(
            f"{option}_options has {', '.join(unknown)}, which {name} does not take; it takes: {', '.join(known)}."
        )
    built = {key: _inner(option, module, value) for key, value in options.items()}
    try:
        with warnings.catch_warnings(action="ignore"):  # on experimental classes
            return getattr(module, name)(**built)
    except ImportError as error:
        raise UserError(f"{option}={short} needs a package that is not installed: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{option}={short} cannot be made with its {option}_options: {error}") from error


def _inner(option: str, module: ModuleType, value: Any) -> Any:
    if not isinstance(value, Mapping) or "name" not in value:
        return value
    name = class_name(option, value["name"], module, "Sampler" if module is optuna.samplers else "Pruner")
    return build(option, module, name, {key: inner for key, inner in value.items() if key != "name"})
