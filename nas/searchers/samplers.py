"""Optuna's samplers by name, with their options."""

import importlib.util
import inspect
import logging
import warnings

import optuna
from optuna.samplers import BaseSampler

from nas.config import OptunaConfig
from nas.errors import UserError
from nas.space import Space, option_name

SUFFIX = "Sampler"
NEEDS = {"QMC": "scipy", "GP": "scipy", "CmaEs": "cmaes"}
"""Packages that a sampler imports when it draws first, which would be after the training."""


def silence() -> None:
    """Optuna tells each trial, and each feature that is experimental; a search has its own progress."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def build_sampler(settings: OptunaConfig, space: Space, seed: int) -> BaseSampler:
    """The sampler of a search; UserError where there is none of this name, or not with these options."""
    silence()
    name, options = _class_name(settings.sampler), dict(settings.sampler_options)
    short = name.removesuffix(SUFFIX)
    if short in NEEDS and importlib.util.find_spec(NEEDS[short]) is None:
        raise UserError(
            f"searcher.sampler={settings.sampler} needs the package {NEEDS[short]}: pip install {NEEDS[short]}."
        )
    kind = getattr(optuna.samplers, name)
    known = inspect.signature(kind).parameters
    if unknown := sorted(options.keys() - known.keys()):
        raise UserError(
            f"searcher.sampler_options has {', '.join(unknown)}, which {name} does not take; it takes: "
            f"{', '.join(known)}."
        )
    if "search_space" in known:
        options.setdefault("search_space", _parameters(space))
    if "seed" in known:
        options.setdefault("seed", seed)
    try:
        built: BaseSampler = kind(**options)
    except (TypeError, ValueError, AttributeError, ImportError) as error:
        raise UserError(
            f"searcher.sampler={settings.sampler} cannot be made with searcher.sampler_options="
            f"{dict(settings.sampler_options)}: {error}; give other options, or another sampler."
        ) from error
    return built


def _parameters(space: Space) -> dict[str, list[str]]:
    """The parameters that `Space.suggest` asks for, and their values."""
    return {f"layer_{layer}": list(map(option_name, space.options[layer])) for layer in space.choosing}


def _class_name(given: str) -> str:
    """The class that is meant: its name in any case, with or without its suffix."""
    known = [name for name in optuna.samplers.__all__ if name.endswith(SUFFIX) and not name.startswith("Base")]
    for name in known:
        if given.lower() in (name.lower(), name.removesuffix(SUFFIX).lower()):
            return name
    raise UserError(
        f"searcher.sampler={given} is unknown; choose one of: {', '.join(name.removesuffix(SUFFIX) for name in known)}."
    )
