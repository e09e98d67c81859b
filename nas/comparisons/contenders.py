"""Who takes part in a comparison: what was searched and hybrids designed by hand, all of one size."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from nas.budget.controller import budgeted_cost, build_budget
from nas.budget.cost import SOFTMAX_SHARE
from nas.comparisons.recipe import Given
from nas.config import BudgetConfig, CompareConfig
from nas.errors import UserError, user_errors
from nas.models.language_model import LanguageModel, count_parameters
from nas.models.operations import check_operations, dense_share
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.layers import routed_layers
from nas.search_spaces.space import Space

TOLERANCE = 0.01
"""By how much the parameters of two contenders may differ, as a part of them."""
LEAST_SHARE = 1e-3
"""A share to train under where a run ended with none: a budget of nothing could not be met by less."""


@dataclass(frozen=True)
class Contender:
    """One model to be trained.

    Attributes:
        name: by which tables and folders know it.
        searched: whether a search found it; else it was designed by hand.
        architecture: with the MLP width that gives it as many parameters as the others.
        budget: that it is trained under, where its layers route.
    """

    name: str
    searched: bool
    architecture: Architecture
    budget: BudgetConfig


def contenders(config: CompareConfig, runs: Sequence[Given], vocab_size: int) -> list[Contender]:
    """Everyone who takes part, of one size; UserError where that cannot be."""
    if twice := {name for name in config.baselines if config.baselines.count(name) > 1}:
        raise UserError(f"baselines has {', '.join(sorted(twice))} more than once; give each baseline once.")
    share = _share(config, runs)
    every = [*_found(runs, config), *(_by_hand(name, config, share, vocab_size) for name in config.baselines)]
    if len(every) < 2:
        raise UserError(
            f"runs={config.runs} and baselines={config.baselines} are {len(every)} to compare; give two or more. "
            f"Baselines: {', '.join(baselines.names())}."
        )
    for one in every:
        if one.architecture.vocab_size != vocab_size:
            raise UserError(
                f"{one.name} is for {one.architecture.vocab_size} tokens, but data={config.data.name} has "
                f"{vocab_size}; give the data that it was searched on."
            )
        with user_errors():
            check_operations(one.architecture.layers)
        build_budget(one.budget, budgeted_cost(one.budget, Space.of(one.architecture)))
    return _matched(every)


def _share(config: CompareConfig, runs: Sequence[Given]) -> float:
    """The share of softmax chunks of hybrids designed by hand, over all of their layers.

    It is that of the first run, else what a search within the budget would have at most.
    """
    if runs:
        return runs[0].share
    budget, model = config.budget, config.model
    share = budget.target if budget.resource == SOFTMAX_SHARE else 1.0
    if not 0 <= share <= 1:
        raise UserError(f"budget.target={share:g} is no share of the chunks; give a number from 0 to 1.")
    with user_errors():
        return share * len(routed_layers(model)) / model.layers


def _to_share(budget: BudgetConfig, share: float) -> BudgetConfig:
    """A budget on the share of softmax chunks, over the layers that route."""
    return replace(budget, resource=SOFTMAX_SHARE, target=min(1.0, max(share, LEAST_SHARE)))


def _found(runs: Sequence[Given], config: CompareConfig) -> list[Contender]:
    """What the runs found, under names that tell them apart, also from the baselines'.

    Each keeps the budget that it was searched under; that of the first is the recipe's, which a user may have changed.
    """
    names = [run.name for run in runs]
    found = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True), 1):
        unique = name if [*names, *config.baselines].count(name) == 1 else f"{name}_{number}"
        budget = config.budget if number == 1 else BudgetConfig(**run.config["budget"])
        if run.chosen:  # the architecture that was found has its routers' share of the space's budget
            budget = _to_share(budget, run.routed_share)
        found.append(Contender(unique, not run.by_hand, run.architecture, budget))
    return found


def _by_hand(name: str, config: CompareConfig, share: float, vocab_size: int) -> Contender:
    """A hybrid designed by hand; its layers together have the given share of softmax, as far as they can."""
    try:
        architecture = baselines.build(name, config.model, vocab_size, max(share, LEAST_SHARE))
    except ValueError as error:
        raise UserError(f"baselines has {name}: {error}") from error
    if architecture is None:
        raise UserError(f"baselines has {name}, which is unknown; choose from: {', '.join(baselines.names())}.")
    layers, routed = architecture.layers, len(architecture.routed_layers)
    dense = sum(dense_share(layer) for layer in layers if not layer.routed)
    own = (share * len(layers) - dense) / routed if routed else share
    budget = _to_share(config.budget, own)
    if architecture.given_routing is not None:
        architecture = replace(architecture, given_share=budget.target)
    return Contender(name, False, architecture, budget)


def _matched(every: list[Contender]) -> list[Contender]:
    """All with as many parameters as the largest has, by the width of their MLPs; UserError where that fails."""
    most = max(parameters(one.architecture) for one in every)
    matched = [replace(one, architecture=_widened(one.architecture, most)) for one in every]
    for one in matched:
        if abs(parameters(one.architecture) - most) > TOLERANCE * most:
            raise UserError(
                f"{one.name} cannot have {most:,} parameters within {100 * TOLERANCE:g} %, as the largest has: by the "
                f"width of its MLPs it comes to {parameters(one.architecture):,}. Compare models of similar sizes."
            )
    return matched


def _widened(architecture: Architecture, target: int) -> Architecture:
    """The same with the MLP width that brings its parameters closest to a number."""
    here = parameters(architecture)
    each = parameters(replace(architecture, mlp_width=architecture.mlp_width + 1)) - here
    return replace(architecture, mlp_width=architecture.mlp_width + max(0, math.floor((target - here) / each + 0.5)))


@functools.cache
def parameters(architecture: Architecture) -> int:
    """Parameters of a model, without making one."""
    with torch.device("meta"):
        return count_parameters(LanguageModel(architecture))
