"""Which searchers there are, and whether one can search a space: known before anything is trained."""

from collections.abc import Callable
from importlib import import_module
from random import Random
from typing import Any, cast

from nas.config import EvolutionConfig, OptunaConfig, SearchConfig, SearcherConfig
from nas.errors import UserError
from nas.relaxations import UNLEARNT
from nas.search_spaces.space import Space
from nas.searchers.draws import Excess, Score, Scores

Searcher = Callable[[Space, Score, Excess, Any, Random], Scores]
"""See `nas.searchers`; settings are those of its own group of options."""

GRADIENT = "gradient"
"""The searcher whose answer is in the logits that were trained."""
SEARCHERS = {"random": "random_search", "evolution": "evolution", "optuna": "optuna_search"}
"""The others: the module, and in it the function."""


def find_searcher(name: str) -> Searcher:
    """A searcher by name; imports it, and with it what it is built on."""
    function = SEARCHERS[name]
    return cast(Searcher, getattr(import_module(f"nas.searchers.{function}"), function))


def check_searcher(config: SearchConfig, space: Space) -> None:
    """UserError where the searcher cannot search this space, or an option of it cannot work."""
    searcher = config.searcher
    if searcher.name == GRADIENT:
        _check_gradient(config, space)
        return
    if searcher.name not in SEARCHERS:
        raise UserError(f"searcher.name={searcher.name} is unknown; choose one of: {GRADIENT}, {', '.join(SEARCHERS)}.")
    if space.size == 1:
        raise UserError(
            f"searcher={searcher.name} has nothing to choose from: {space.name} is a single architecture here, whose "
            "routers learn by gradient; give searcher=gradient, or a space in which layers have several options."
        )
    if isinstance(searcher, EvolutionConfig):
        _check_evolution(searcher)
    if isinstance(searcher, OptunaConfig):
        from nas.searchers.samplers import build_sampler  # imports Optuna

        build_sampler(searcher, space, seed=0)


def _check_gradient(config: SearchConfig, space: Space) -> None:
    if space.choosing and config.relaxation.name in UNLEARNT:
        raise UserError(
            f"relaxation={config.relaxation.name} teaches the logits of layers nothing, so searcher={GRADIENT} would "
            f"find nothing; give another relaxation, or another searcher: {', '.join(SEARCHERS)}."
        )


def _check_evolution(searcher: SearcherConfig) -> None:
    assert isinstance(searcher, EvolutionConfig)
    if searcher.sample > searcher.population:
        raise UserError(
            f"searcher.sample={searcher.sample} is more than searcher.population={searcher.population}, of which it is "
            "drawn; give at most that many."
        )
    if searcher.population > searcher.evaluations:
        raise UserError(
            f"searcher.population={searcher.population} is more than searcher.evaluations={searcher.evaluations}, so "
            "nothing would evolve; give a smaller population, or more evaluations."
        )
