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
"""Packages that a sampler imports when it draws first, which would be late."""


def silence() -> None:
    """Optuna tells each trial and each experimental feature; our commands have progress of their own."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def class_name(option: str, given: str, module: ModuleType, suffix: str, also: str = "") -> str:
    """The class that is meant by a name in any case, with or without its suffix; UserError where there is none.

    Args:
        option: that gave the name.
        given: the name.
        module: of Optuna.
        suffix: of its classes.
        also: other values of the option, for the message.
    """
    known = [name for name in module.__all__ if name.endswith(suffix) and not name.startswith("Base")]
    for name in known:
        if given.lower() in (name.lower(), name.removesuffix(suffix).lower()):
            return name
    raise UserError(
        f"{option}={given} is unknown; choose one of: {also}{', '.join(name.removesuffix(suffix) for name in known)}."
    )


def parameters(module: ModuleType, name: str) -> Mapping[str, inspect.Parameter]:
    """What a class takes."""
    return inspect.signature(getattr(module, name)).parameters


def build(option: str, module: ModuleType, name: str, options: Mapping[str, Any]) -> Any:
    """The sampler or pruner; an option that is one itself is given as {name: ..., and its options}.

    Raises:
        UserError: it does not take these options, or needs a package that is not there.
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
        with warnings.catch_warnings(action="ignore"):  # that some are experimental
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
