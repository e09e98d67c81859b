"""Samplers and pruners of Optuna by name with their options, and one clear message for each mistake."""

from typing import Any

import optuna
import pytest

from nas.config import StudyConfig
from nas.errors import UserError
from nas.sweeps.ranges import Choices, Numbers
from nas.sweeps.samplers import build_pruner, build_sampler

RANGES = {"x": Choices((1, 2, 3)), "y": Numbers(0.0, 1.0, False, 0.5)}
PATIENT = {"wrapped_pruner": {"name": "median"}, "patience": 2}
OPEN = {"x": Numbers(0.0, 1.0, False, None)}


def study(**options: Any) -> StudyConfig:
    given = {"trials": 5, "objectives": ["quality"], "sampler": "TPE", "pruner": "auto", "prune_every": 10}
    return StudyConfig(**(given | options))


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("TPE", {}, "TPESampler"),
        ("tpesampler", {"n_startup_trials": 3, "multivariate": True}, "TPESampler"),
        ("random", {}, "RandomSampler"),
        ("Grid", {}, "GridSampler"),
        ("BruteForce", {}, "BruteForceSampler"),
        ("NSGAII", {"population_size": 10}, "NSGAIISampler"),
        ("PartialFixed", {"fixed_params": {"x": 1}, "base_sampler": {"name": "Random"}}, "PartialFixedSampler"),
    ],
)
def test_samplers_by_name(name: str, options: dict[str, Any], kind: str) -> None:
    made = study(sampler=name, sampler_options=options)
    assert type(build_sampler(made, RANGES, 0, 0)).__name__ == kind


@pytest.mark.parametrize(
    ("options", "ranges", "told"),
    [
        ({"sampler": "TPO"}, RANGES, "sweep.sampler=TPO is unknown; choose one of: BruteForce, CmaEs, Grid"),
        ({"sampler": "Base"}, RANGES, "sweep.sampler=Base is unknown"),
        ({"sampler_options": {"speed": 1}}, RANGES, "has speed, which TPESampler does not take; it takes: "),
        ({"sampler": "NSGAII", "sampler_options": {"population_size": 0}}, RANGES, "must be greater than"),
        ({"sampler": "PartialFixed"}, RANGES, "cannot be made"),
        (
            {"sampler": "Grid", "trials": 10},
            RANGES,
            "sweep.trials=10 is too many for sweep.sampler=Grid, which tries each of the 9 combinations",
        ),
        ({"sampler": "BruteForce"}, OPEN, "sweep.ranges.x has infinitely many; give choices or a step"),
        ({"sampler": "CmaEs"}, OPEN, "needs the package cmaes: pip install cmaes"),
    ],
    ids=str,
)
def test_samplers_that_cannot_work(
    options: dict[str, Any], ranges: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as refused:
        build_sampler(study(**options), ranges, 0, 0)
    assert told in str(refused.value)


def test_a_trial_draws_the_same_whoever_runs_it_and_another_something_else() -> None:
    def drawn(trial: int, seed: int = 0) -> float:
        made = optuna.create_study(sampler=build_sampler(study(), OPEN, seed, trial))
        return made.ask().suggest_float("x", 0, 1)

    assert drawn(3) == drawn(3)
    assert len({drawn(trial) for trial in range(5)} | {drawn(0, seed=1)}) == 6


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "MedianPruner"),
        ({"objectives": ["quality", "share"]}, "NopPruner"),
        ({"objectives": ["share"]}, "NopPruner"),
        ({"pruner": "none"}, "NopPruner"),
        ({"pruner": "none", "objectives": ["quality", "share"]}, "NopPruner"),
        ({"pruner": "Hyperband", "pruner_options": {"max_resource": 100}}, "HyperbandPruner"),
        ({"pruner": "Patient", "pruner_options": PATIENT}, "PatientPruner"),
    ],
    ids=str,
)
def test_pruners_by_name(options: dict[str, Any], kind: str) -> None:
    assert type(build_pruner(study(**options), "gradient")).__name__ == kind


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pruner": "modal"}, "sweep.pruner=modal is unknown; choose one of: auto, none, Hyperband, Median"),
        (
            {"pruner": "median", "objectives": ["quality", "share"]},
            "sweep.pruner=median prunes by quality alone, but sweep.objectives=['quality', 'share']; give",
        ),
        ({"pruner": "median", "pruner_options": {"speed": 1}}, "speed, which MedianPruner does not take; it takes: n_"),
        ({"pruner": "percentile", "pruner_options": {"percentile": 200}}, "cannot be made"),
    ],
    ids=str,
)
def test_pruners_that_cannot_work(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as refused:
        build_pruner(study(**options), "gradient")
    assert told in str(refused.value)


def test_a_search_of_several_trainings_is_not_pruned() -> None:
    assert type(build_pruner(study(pruner="auto", objectives=["quality"]), "halving")).__name__ == "NopPruner"
    with pytest.raises(UserError, match=r"sweep.pruner=median compares trainings .* searcher=halving trains several"):
        build_pruner(study(pruner="median"), "halving")
