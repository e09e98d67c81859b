"""The searchers by name, and the check before training that a searcher can search a space."""

from collections.abc import Callable
from importlib import import_module
from random import Random
from typing import Any, cast

from nas.budget.checks import DRAWN
from nas.config import (
    EvolutionConfig,
    HalvingConfig,
    OptunaConfig,
    RandomConfig,
    RuleConfig,
    SearchConfig,
    SearcherConfig,
)
from nas.errors import UserError
from nas.plugins.installed import SEARCHER
from nas.plugins.loading import find, known
from nas.plugins.registry import misbehaviour
from nas.relaxations import UNLEARNT
from nas.search_spaces.space import Code, Space
from nas.searchers.draws import Excess, Score, Scores
from nas.searchers.places import GREEDY, ORIGINAL, RULE, RULES, UNIFORM, Places

Searcher = Callable[[Space, Score, Excess, Any, Random], Scores]
"""See `nas.searchers`; settings are the options of the searcher."""

GRADIENT, HALVING = "gradient", "halving"
"""Those that score nothing with shared weights: by trained architecture logits, or by trainings of their own."""
SEARCHERS = {"random": "random_search", "evolution": "evolution", "optuna": "optuna_search"}
"""Module, and function in it, of the other searchers of nas by name. Plugins add more."""


def find_searcher(name: str) -> Searcher:
    """Import and return a searcher by name; raise a UserError if the name is unknown."""
    if (function := SEARCHERS.get(name)) is not None:
        return cast(Searcher, getattr(import_module(f"nas.searchers.{function}"), function))
    added = find(SEARCHER, name)
    if added is None:
        raise UserError(f"searcher.name={name} is unknown; choose one of: {', '.join(_names())}.")
    return _checked(name, added.make)


def _names() -> list[str]:
    """Return the names of all searchers, those of nas first."""
    return [GRADIENT, HALVING, RULE, *SEARCHERS, *known(SEARCHER)]


def _checked(name: str, search: Searcher) -> Searcher:
    """Wrap a searcher of a plugin: raise a UserError if it scores or returns a wrong value."""

    def checked(space: Space, score: Score, excess: Excess, settings: Any, random: Random) -> Scores:
        scored: set[Code] = set()

        def recorded(code: Code) -> float:
            if not _is_code(space, code):
                raise misbehaviour(SEARCHER, name, "scored", "score codes of the space, see Space.codes", code)
            scored.add(code)
            return score(code)

        scores: object = search(space, recorded, excess, settings, random)
        if not isinstance(scores, dict) or not scores.keys() <= scored:
            raise misbehaviour(
                SEARCHER, name, "returned", "return a dict of scores by code, of scored codes only", scores
            )
        return scores

    return checked


def _is_code(space: Space, code: object) -> bool:
    try:
        space.decode(cast(Code, code))
    except (TypeError, ValueError):
        return False
    return isinstance(code, tuple)


def check_searcher(config: SearchConfig, space: Space) -> None:
    """Raise a UserError if the searcher cannot search this space, or if one of its options cannot work."""
    searcher = config.searcher
    if searcher.select_at < 1:
        _check_select_at(config, space)
    elif config.budget.start == DRAWN:
        raise UserError(
            "budget.start=drawn draws the options of layers until an architecture is selected, but "
            "searcher.select_at=1 selects at the end; give searcher.select_at=0.6, or budget.start=most_expensive."
        )
    if searcher.name == GRADIENT:
        _check_gradient(config, space)
        return
    if searcher.name not in _names():
        raise UserError(f"searcher.name={searcher.name} is unknown; choose one of: {', '.join(_names())}.")
    restarts = searcher.restarts if isinstance(searcher, HalvingConfig) else 1
    if space.size == 1 and restarts == 1:
        raise UserError(
            f"searcher={searcher.name} has nothing to search: {space.name} is a single architecture here, whose "
            "routers learn by gradient; give searcher=gradient, a space in which layers have several options, or "
            f"searcher={HALVING} searcher.restarts=3, which trains it from several initial weights."
        )
    if restarts > 1 and config.model.path is not None:
        raise UserError(
            f"searcher.restarts={restarts} trains from different initial weights, but all start from those of "
            f"model.path={config.model.path}; give searcher.restarts=1."
        )
    if isinstance(searcher, HalvingConfig | RuleConfig):
        _check_alone(config)
    if isinstance(searcher, RuleConfig):
        _check_rule(config, searcher, space)
    if isinstance(searcher, RandomConfig) and searcher.tolerance is not None and config.budget.exact:
        raise UserError(
            f"searcher.tolerance={searcher.tolerance:g} prefers cheaper architectures, but with budget.exact=true all "
            "cost the same; give searcher.tolerance=null, or budget.exact=false."
        )
    if isinstance(searcher, EvolutionConfig):
        _check_evolution(searcher)
    if isinstance(searcher, OptunaConfig):
        from nas.searchers.samplers import build_sampler  # imports Optuna

        build_sampler(searcher, space, seed=0)


def _check_gradient(config: SearchConfig, space: Space) -> None:
    if space.choosing and config.relaxation.name in UNLEARNT:
        raise UserError(
            f"relaxation={config.relaxation.name} does not train the architecture logits, which searcher={GRADIENT} "
            f"needs; give another relaxation, or another searcher: {', '.join(_names()[1:])}."
        )


def _check_select_at(config: SearchConfig, space: Space) -> None:
    given = f"searcher.select_at={config.searcher.select_at:g}"
    if not space.choosing:
        raise UserError(
            f"{given} selects nothing: in {space.name} every layer has one option here; give searcher.select_at=1, or "
            "a space in which layers have several options."
        )
    if config.budget.dense_until >= config.searcher.select_at:
        raise UserError(
            f"{given} selects before the options of the layers have been trained: the dense phase may last until "
            f"budget.dense_until={config.budget.dense_until:g}; give budget.dense_until="
            f"{config.searcher.select_at / 2:g}, or a larger searcher.select_at."
        )
    if config.trainer.strategy == "fsdp":
        raise UserError(
            f"{given} scores architectures during training, which no process can do with its shard of the weights "
            "(trainer.strategy=fsdp); give searcher.select_at=1, or trainer.strategy=ddp."
        )


def _check_rule(config: SearchConfig, searcher: RuleConfig, space: Space) -> None:
    name = f"searcher.rule={searcher.rule}"
    if searcher.rule not in RULES:
        raise UserError(f"{name} is unknown; choose one of: {', '.join(RULES)}.")
    backbone = space.sizes.backbone
    if searcher.rule in (ORIGINAL, GREEDY) and backbone is None:
        raise UserError(
            f"{name} needs a pretrained model, but model={config.model.name} starts from random weights; give "
            f"model=pretrained model.path=DIR, or searcher.rule={UNIFORM}."
        )
    if searcher.rule == ORIGINAL and backbone is not None and not backbone.sliding:
        raise UserError(
            f"{name} keeps the layers with full attention of a model whose other layers are sliding windows, but all "
            f"layers of {config.model.path} have full attention; give searcher.rule={UNIFORM} or {GREEDY}."
        )
    if config.budget.exact:
        raise UserError(f"{name} places as many layers as the budget allows at most; give budget.exact=false.")
    Places(space, lambda layer, option: 0.0)  # refuses layers that have nothing to keep


def _check_alone(config: SearchConfig) -> None:
    refused = {
        f"searcher.select_at={config.searcher.select_at:g}": (config.searcher.select_at < 1, "searcher.select_at=1"),
        f"space.placement={config.space.placement}": (config.space.placement is not None, "space.placement=null"),
    }
    for given, (is_given, instead) in refused.items():
        if is_given:
            raise UserError(
                f"{given} has no place in searcher={config.searcher.name}, which trains each architecture alone; give "
                f"{instead}."
            )


def _check_evolution(searcher: SearcherConfig) -> None:
    assert isinstance(searcher, EvolutionConfig)
    if searcher.sample > searcher.population:
        raise UserError(
            f"searcher.sample={searcher.sample} is more than searcher.population={searcher.population}, from which the "
            f"sample is drawn; give at most {searcher.population}."
        )
    if searcher.population > searcher.evaluations:
        raise UserError(
            f"searcher.population={searcher.population} is more than searcher.evaluations={searcher.evaluations}, so "
            "nothing would evolve; give a smaller population, or more evaluations."
        )
