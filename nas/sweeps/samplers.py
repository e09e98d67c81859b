"""The sampler and the pruner of a study."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import optuna

from nas.config import StudyConfig
from nas.data.seeding import stable_seed
from nas.errors import UserError
from nas.searchers.optuna_parts import build, class_name, parameters
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
    name = class_name("sweep.sampler", study.sampler, optuna.samplers, "Sampler")
    short = name.removesuffix("Sampler")
    options = dict(study.sampler_options)
    if short in EXHAUSTIBLE:
        size = _combinations(study, short, ranges)
        if study.trials > size:
            raise UserError(
                f"sweep.trials={study.trials}, but the ranges have {size} combinations, and sweep.sampler="
                f"{study.sampler} tries each once; give sweep.trials={size} or fewer."
            )
    if short == "Grid":
        options.setdefault("search_space", {option: allowed.values() for option, allowed in ranges.items()})
    if "seed" in parameters(optuna.samplers, name):
        options.setdefault("seed", stable_seed(seed, "sampler", 0 if short in SHARED_SEED else trial) % 2**32)
    built: BaseSampler = build("sweep.sampler", optuna.samplers, name, options)
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
    name = class_name("sweep.pruner", given, optuna.pruners, "Pruner", f"{AUTO}, {NONE}, ")
    built: BasePruner = build("sweep.pruner", optuna.pruners, name, study.pruner_options)
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
