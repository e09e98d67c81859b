"""Optuna's samplers and pruners by name, with their options."""

import importlib.util
import inspect
import logging
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import optuna

from nas.config import StudyConfig
from nas.data.seeding import stable_seed
from nas.errors import UserError
from nas.sweeps.objectives import QUALITY
from nas.sweeps.ranges import Range

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

AUTO, NONE = "auto", "none"
SHARED_SEED = ("QMC", "Grid")
"""Samplers whose workers must draw from one sequence."""
EXHAUSTIBLE = ("Grid", "BruteForce")
"""Samplers that try every combination once."""
NEEDS = {"QMC": "scipy", "GP": "scipy", "CmaEs": "cmaes"}
"""Packages that a sampler imports when it draws first, which would be in the middle of a sweep."""


def silence() -> None:
    """Optuna tells each trial and each experimental feature; a sweep has its own progress."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def build_sampler(study: StudyConfig, ranges: Mapping[str, Range], seed: int, trial: int) -> "BaseSampler":
    """The sampler for one trial; UserError where there is no such sampler, or not with these options.

    Each trial has a sampler of its own, which knows of the others what the storage has of them: so what it draws does
    not depend on which worker runs it, or on whether one was killed before.

    Args:
        study: names the sampler.
        ranges: what is swept.
        seed: of the sweep.
        trial: number of the trial, from 0.
    """
    name = _class_name("sweep.sampler", study.sampler, optuna.samplers, "Sampler")
    short = name.removesuffix("Sampler")
    options = dict(study.sampler_options)
    if short in NEEDS and importlib.util.find_spec(NEEDS[short]) is None:
        raise UserError(f"sweep.sampler={study.sampler} needs the package {NEEDS[short]}: pip install {NEEDS[short]}.")
    if short in EXHAUSTIBLE:
        size = _combinations(study, short, ranges)
        if study.trials > size:
            raise UserError(
                f"sweep.trials={study.trials}, but the ranges have {size} combinations, and sweep.sampler="
                f"{study.sampler} tries each once; give sweep.trials={size} or fewer."
            )
    if short == "Grid":
        options.setdefault("search_space", {option: allowed.values() for option, allowed in ranges.items()})
    parameters = inspect.signature(getattr(optuna.samplers, name)).parameters
    if "seed" in parameters:
        options.setdefault("seed", stable_seed(seed, "sampler", 0 if short in SHARED_SEED else trial) % 2**32)
    built: BaseSampler = _build("sweep.sampler", optuna.samplers, name, options)
    return built


def build_pruner(study: StudyConfig) -> "BasePruner":
    """The pruner of a study; UserError where there is no such pruner, or where nothing can be pruned."""
    prunable = study.objectives == [QUALITY]
    given = study.pruner
    if given == AUTO:
        given = "Median" if prunable else NONE
    if given.lower() == NONE or given == "NopPruner":
        return optuna.pruners.NopPruner()
    if not prunable:
        raise UserError(
            f"sweep.pruner={study.pruner} prunes by quality alone, but sweep.objectives={study.objectives}; give "
            "sweep.pruner=none, or quality as the one objective."
        )
    if study.prune_every < 1:
        raise UserError(f"sweep.prune_every={study.prune_every} is not allowed; give 1 or more.")
    name = _class_name("sweep.pruner", given, optuna.pruners, "Pruner")
    built: BasePruner = _build("sweep.pruner", optuna.pruners, name, study.pruner_options)
    return built


def _combinations(study: StudyConfig, short: str, ranges: Mapping[str, Range]) -> int:
    size = 1.0
    for option, allowed in ranges.items():
        if allowed.size == float("inf"):
            raise UserError(
                f"sweep.sampler={study.sampler} tries every value, but sweep.ranges.{option} has endlessly many; give "
                "it choices or a step."
            )
        size *= allowed.size
    return int(size)


def _class_name(option: str, given: str, module: ModuleType, suffix: str) -> str:
    """The class that is meant: its name in any case, with or without its suffix."""
    known = [name for name in module.__all__ if name.endswith(suffix) and not name.startswith("Base")]
    for name in known:
        if given.lower() in (name.lower(), name.removesuffix(suffix).lower()):
            return name
    also = f"{AUTO}, {NONE}, " if suffix == "Pruner" else ""
    raise UserError(
        f"{option}={given} is unknown; choose one of: {also}{', '.join(name.removesuffix(suffix) for name in known)}."
    )


def _build(option: str, module: ModuleType, name: str, options: Mapping[str, Any]) -> Any:
    """The sampler or pruner; an option that is one itself is given as {name: ..., and its options}."""
    parameters = inspect.signature(getattr(module, name)).parameters
    if unknown := sorted(options.keys() - parameters.keys()):
        raise UserError(
            f"{option}_options has {', '.join(unknown)}, which {name} does not take; it takes: {', '.join(parameters)}."
        )
    built = {key: _inner(option, module, value) for key, value in options.items()}
    try:
        with warnings.catch_warnings(action="ignore"):  # that some are experimental
            return getattr(module, name)(**built)
    except ImportError as error:
        raise UserError(f"{option}={name} needs a package that is not installed: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{option}={name} cannot be made with its {option}_options: {error}") from error


def _inner(option: str, module: ModuleType, value: Any) -> Any:
    if not isinstance(value, Mapping) or "name" not in value:
        return value
    name = _class_name(option, value["name"], module, "Sampler" if module is optuna.samplers else "Pruner")
    return _build(option, module, name, {key: inner for key, inner in value.items() if key != "name"})
