"""The sampler and the pruner of a study."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import optuna

from nas.config import StudyConfig
from nas.data.seeding import stable_seed
from nas.errors import UserError
from nas.searchers import HALVING
from nas.searchers.optuna_parts import build, class_name, parameters
from nas.sweeps.objectives import QUALITY
from nas.sweeps.ranges import Range

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

AUTO, NONE = "auto", "none"
SHARED_SEED = ("QMC", "Grid")
"""Samplers that draw all trials from one sequence, so that their seed must not depend on the trial."""
EXHAUSTIBLE = ("Grid", "BruteForce")
"""Samplers that try every combination once."""


def build_sampler(study: StudyConfig, ranges: Mapping[str, Range], seed: int, trial: int) -> "BaseSampler":
    """Return the sampler of one trial.

    Each trial has its own sampler, which reads earlier trials from the storage. So the drawn values do not depend on
    which worker runs the trial, or on whether a worker was killed before.

    Args:
        study: options of the study, with the name of the sampler.
        ranges: the ranges by option.
        seed: seed of the sweep.
        trial: number of the trial, from 0.

    Raises:
        UserError: the sampler or one of its options is unknown, or the sampler does not fit the ranges.
    """
    name = class_name("sweep.sampler", study.sampler, optuna.samplers, "Sampler")
    short = name.removesuffix("Sampler")
    options = dict(study.sampler_options)
    if short in EXHAUSTIBLE:
        size = _combinations(study, short, ranges)
        if study.trials > size:
            raise UserError(
                f"sweep.trials={study.trials} is too many for sweep.sampler={study.sampler}, which tries each of the "
                f"{size} combinations of the ranges once; give sweep.trials={size} or fewer."
            )
    if short == "Grid":
        options.setdefault("search_space", {option: allowed.values() for option, allowed in ranges.items()})
    if "seed" in parameters(optuna.samplers, name):
        options.setdefault("seed", stable_seed(seed, "sampler", 0 if short in SHARED_SEED else trial) % 2**32)
    built: BaseSampler = build("sweep.sampler", optuna.samplers, name, options)
    return built


def build_pruner(study: StudyConfig, searcher: str) -> "BasePruner":
    """Return the pruner of a study; UserError if it is unknown, or if objectives or searcher do not allow pruning."""
    prunable = study.objectives == [QUALITY] and searcher != HALVING
    given = study.pruner
    if given == AUTO:
        given = "Median" if prunable else NONE
    if given.lower() == NONE or given == "NopPruner":
        return optuna.pruners.NopPruner()
    if searcher == HALVING:
        raise UserError(
            f"sweep.pruner={study.pruner} compares trainings step by step, but searcher={HALVING} trains several "
            "architectures one after the other; give sweep.pruner=none."
        )
    if not prunable:
        raise UserError(
            f"sweep.pruner={study.pruner} prunes by quality alone, but sweep.objectives={study.objectives}; give "
            "sweep.pruner=none or sweep.objectives=[quality]."
        )
    name = class_name("sweep.pruner", given, optuna.pruners, "Pruner", f"{AUTO}, {NONE}, ")
    built: BasePruner = build("sweep.pruner", optuna.pruners, name, study.pruner_options)
    return built


def _combinations(study: StudyConfig, short: str, ranges: Mapping[str, Range]) -> int:
    """Return the number of combinations of values; UserError if a range has infinitely many values."""
    size = 1.0
    for option, allowed in ranges.items():
        if allowed.size == float("inf"):
            raise UserError(
                f"sweep.sampler={study.sampler} tries every value, but sweep.ranges.{option} has infinitely many; give "
                "choices or a step."
            )
        size *= allowed.size
    return int(size)
