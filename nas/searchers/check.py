"""Which searchers there are, and whether one can search a space: known before anything is trained."""

from collections.abc import Callable
from importlib import import_module
from random import Random
from typing import Any, cast

from nas.config import EvolutionConfig, OptunaConfig, SearchConfig, SearcherConfig
from nas.errors import UserError
from nas.plugins.installed import SEARCHER
from nas.plugins.loading import find, known
from nas.plugins.registry import misbehaviour
from nas.relaxations import UNLEARNT
from nas.search_spaces.space import Code, Space
from nas.searchers.draws import Excess, Score, Scores

Searcher = Callable[[Space, Score, Excess, Any, Random], Scores]
"""See `nas.searchers`; settings are those of its own group of options."""

GRADIENT = "gradient"
"""The searcher whose answer is in the logits that were trained."""
SEARCHERS = {"random": "random_search", "evolution": "evolution", "optuna": "optuna_search"}
"""The others of nas: the module, and in it the function. Plugins add more."""


def find_searcher(name: str) -> Searcher:
    """A searcher by name; imports it, and with it what it is built on."""
    if (function := SEARCHERS.get(name)) is not None:
        return cast(Searcher, getattr(import_module(f"nas.searchers.{function}"), function))
    added = find(SEARCHER, name)
    if added is None:
        raise UserError(f"searcher.name={name} is unknown; choose one of: {', '.join(_names())}.")
    return _checked(name, added.make)


def _names() -> list[str]:
    """Every searcher: those of nas first."""
    return [GRADIENT, *SEARCHERS, *known(SEARCHER)]


def _checked(name: str, search: Searcher) -> Searcher:
    """A searcher of a plugin, which is refused where it asks for or returns something else than it must."""

    def checked(space: Space, score: Score, excess: Excess, settings: Any, random: Random) -> Scores:
        asked: set[Code] = set()

        def noted(code: Code) -> float:
            if not _is_code(space, code):
                raise misbehaviour(SEARCHER, name, "scored", "score codes of the space, see Space.codes", code)
            asked.add(code)
            return score(code)

        scores: object = search(space, noted, excess, settings, random)
        if not isinstance(scores, dict) or not scores.keys() <= asked:
            raise misbehaviour(SEARCHER, name, "returned", "return a score by each code that it had scored", scores)
        return scores

    return checked


def _is_code(space: Space, code: object) -> bool:
    try:
        space.decode(cast(Code, code))
    except (TypeError, ValueError):
        return False
    return isinstance(code, tuple)


def check_searcher(config: SearchConfig, space: Space) -> None:
    """UserError where the searcher cannot search this space, or an option of it cannot work."""
    searcher = config.searcher
    if searcher.name == GRADIENT:
        _check_gradient(config, space)
        return
    if searcher.name not in _names():
        raise UserError(f"searcher.name={searcher.name} is unknown; choose one of: {', '.join(_names())}.")
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
            f"find nothing; give another relaxation, or another searcher: {', '.join(_names()[1:])}."
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
