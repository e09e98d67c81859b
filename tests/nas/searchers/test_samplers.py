"""Optuna's samplers by name: which are there, with which options, and what is refused."""

from random import Random
from typing import Any

import optuna
import pytest

from nas.config import OptunaConfig
from nas.errors import UserError
from nas.searchers.optuna_search import optuna_search
from nas.searchers.samplers import build_sampler
from tests.nas.searchers.problems import Separable, at_most, space_of


def settings(sampler: str, **options: Any) -> OptunaConfig:
    return OptunaConfig("optuna", evaluations=12, batches=1, sampler=sampler, sampler_options=options)


@pytest.mark.parametrize("given", ["TPE", "tpe", "TPESampler"])
def test_a_sampler_is_named_as_people_do(given: str) -> None:
    assert type(build_sampler(settings(given), space_of(3, 2), 0)) is optuna.samplers.TPESampler


def test_options_go_to_the_sampler() -> None:
    built = build_sampler(settings("TPE", n_startup_trials=3), space_of(3, 2), 0)
    assert isinstance(built, optuna.samplers.TPESampler)
    assert built._n_startup_trials == 3


@pytest.mark.parametrize("sampler", ["Random", "TPE", "NSGAII", "Grid", "BruteForce"])
def test_each_searches_and_ends(sampler: str) -> None:
    space, excess = space_of(4, 2), at_most(2)
    found = optuna_search(space, Separable(space), excess, settings(sampler), Random(0))
    assert len(found) == 11, "of 16 patterns those with two softmax layers at the most"
    assert found == optuna_search(space, Separable(space), excess, settings(sampler), Random(0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (settings("Best"), "searcher.sampler=Best is unknown; choose one of: "),
        (
            settings("TPE", nothing=1),
            "searcher.sampler_options has nothing, which TPESampler does not take; it takes: ",
        ),
        (settings("NSGAII", population_size=1), "searcher.sampler=NSGAII cannot be made with"),
        (settings("PartialFixed"), "searcher.sampler=PartialFixed cannot be made with"),
    ],
    ids=lambda value: value.sampler if isinstance(value, OptunaConfig) else "",
)
def test_what_cannot_be_is_refused(given: OptunaConfig, told: str) -> None:
    with pytest.raises(UserError) as caught:
        build_sampler(given, space_of(3, 2), 0)
    assert told in str(caught.value)


def test_a_package_that_is_missing_is_named_before_the_sampler_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"searcher.sampler=CmaEs needs the package cmaes: pip install cmaes"):
        build_sampler(settings("CmaEs"), space_of(3, 2), 0)
