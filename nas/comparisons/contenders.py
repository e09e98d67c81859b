"""The contenders of a comparison: searched models and hand-designed hybrids, all of one size."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from nas.budget.build import budgeted_cost, build_budget
from nas.budget.cost import SOFTMAX_SHARE
from nas.comparisons.recipe import ComparedRun
from nas.comparisons.searches import Entry, entries, search_of
from nas.config import BudgetConfig, CompareConfig, SearchConfig
from nas.errors import UserError, user_errors
from nas.latency.obtain import latencies_of
from nas.models.language_model import LanguageModel, count_parameters
from nas.models.operations import check_operations, dense_share
from nas.pretrained.stock import build_space
from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.layers import routed_layers
from nas.search_spaces.placements import placements
from nas.search_spaces.space import Space
from nas.workflows.search import space_of

TOLERANCE = 0.01
"""Largest relative difference between the parameter counts of two contenders."""
LEAST_SHARE = 1e-3
"""Smallest target for a softmax share, used if a run ended with share 0: no share is below a target of 0."""


@dataclass(frozen=True)
class Contender:
    """One model to be trained.

    Attributes:
        name: its name in tables and in names of folders.
        searched: whether a search found it; otherwise it was designed by hand.
        architecture: the architecture, with the MLP width that gives it as many parameters as the others.
        budget: the budget of its training; ignored if none of its layers has a router.
        placements: the baseline name of all placements, of which it is one; None if it was named itself.
        search: options of the search that is each of its trainings, with the same MLP width; its architecture is then
            the one of the space with the most parameters. None if the architecture itself is trained.
        retrained: whether each architecture that a search finds is then trained from scratch, and reported.
    """

    name: str
    searched: bool
    architecture: Architecture
    budget: BudgetConfig
    placements: str | None = None
    search: SearchConfig | None = None
    retrained: bool = False

    @property
    def space(self) -> Space:
        """The space that is searched; that of the architecture alone without a search."""
        if self.search is None:
            return Space.of(self.architecture)
        return build_space(self.search.space, self.search.model, self.architecture.vocab_size)


def contenders(config: CompareConfig, runs: Sequence[ComparedRun], vocab_size: int) -> list[Contender]:
    """Return the contenders of a comparison, matched in their number of parameters.

    Args:
        config: options of the comparison.
        runs: the finished runs to compare.
        vocab_size: number of tokens in the vocabulary of the data.

    Raises:
        UserError: fewer than two contenders are given, or one of them cannot be built or matched.
    """
    expanded = [pair for name in config.baselines for pair in _expanded(name)]
    names = [name for name, _ in expanded]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"baselines has {', '.join(sorted(twice))} more than once; give each baseline once.")
    searches = entries(config)
    share = _share(config, runs)
    by_hand = (replace(_by_hand(name, config, share, vocab_size), placements=of) for name, of in expanded)
    found = _found(runs, config, [*names, *(one.name for one in searches)])
    every = [*found, *(_searched(one, config, vocab_size) for one in searches), *by_hand]
    if len(every) < 2:
        raise UserError(
            f"runs={config.runs}, searched={config.searched} and baselines={config.baselines} are {len(every)} to "
            f"compare; give two or more. Baselines: {', '.join(baselines.names())}."
        )
    if clash := {one.name for one in searches} & set(names):
        raise UserError(f"searched and baselines both have {', '.join(clash)}; give the search another name.")
    for one in every:
        if not one.architecture.reads(vocab_size):
            raise UserError(
                f"{one.name} is for {one.architecture.vocab_size} tokens, but data={config.data.name} has "
                f"{vocab_size}; give the data that it was searched on."
            )
        with user_errors():
            check_operations(one.architecture.layers, one.architecture)
    matched = _matched(every)
    for one in matched:
        _check_budget(one, config)
    return matched


def _check_budget(one: Contender, config: CompareConfig) -> None:
    """Raise a UserError if no architecture of a contender can meet its budget.

    Latencies are measured here, before several trainings at a time use the device, and kept for them.
    """
    trainer = config.trainer if one.search is None else one.search.trainer
    latencies = latencies_of(one.budget, trainer, one.space.sizes, one.space.options)
    build_budget(one.budget, budgeted_cost(one.budget, one.space, latencies))


def _expanded(name: str) -> list[tuple[str, str | None]]:
    """Return the names of the contenders of a baseline, each with the name of all placements if it is one of them."""
    try:
        found = placements(name)
    except ValueError as error:
        raise UserError(f"baselines has {name}: {error}") from error
    return [(name, None)] if found is None else [(one, name) for one in found]


def _share(config: CompareConfig, runs: Sequence[ComparedRun]) -> float:
    """Return the softmax share of hand-designed hybrids, over all of their layers.

    It is the share of the first run. Without a run it is the largest share that a search within the budget could have.
    """
    if runs:
        return runs[0].share
    budget, model = config.budget, config.model
    share = budget.target if budget.resource == SOFTMAX_SHARE else 1.0
    if not 0 <= share <= 1:
        raise UserError(f"budget.target={share:g} is not a softmax share; give a number from 0 to 1.")
    with user_errors():
        return share * len(routed_layers(model)) / model.layers


def _to_share(budget: BudgetConfig, share: float) -> BudgetConfig:
    """Return a budget on the softmax share of the routed layers."""
    return replace(budget, resource=SOFTMAX_SHARE, target=min(1.0, max(share, LEAST_SHARE)))


def _found(runs: Sequence[ComparedRun], config: CompareConfig, by_hand: Sequence[str]) -> list[Contender]:
    """Return the architectures of the runs as contenders, with names that are unique, also among the baselines.

    Each keeps the budget of its search. The budget of the first run is the recipe's, which the user may have changed.
    """
    names = [run.name for run in runs]
    found = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True), 1):
        unique = name if [*names, *by_hand].count(name) == 1 else f"{name}_{number}"
        budget = config.budget if number == 1 else BudgetConfig(**run.config["budget"])
        found.append(Contender(unique, not run.by_hand, run.architecture, _own_budget(budget, run)))
    return found


def _own_budget(budget: BudgetConfig, run: ComparedRun) -> BudgetConfig:
    """Return the budget for the architecture of a run: the share of its own routers if a space was searched for it."""
    if not run.chosen:
        return budget
    return _to_share(budget, run.routed_share if math.isfinite(run.routed_share) else LEAST_SHARE)


def _searched(entry: Entry, config: CompareConfig, vocab_size: int) -> Contender:
    """Return a space that is searched anew with each seed as a contender."""
    search = search_of(entry, config)
    largest = _largest(space_of(search, vocab_size))
    return Contender(entry.name, True, largest, search.budget, search=search, retrained=entry.retrained)


def retrained(contender: Contender, run: ComparedRun) -> Contender:
    """Return the answer of a search as a contender that is trained from scratch, with as many parameters as others.

    Args:
        contender: the search.
        run: its finished run.
    """
    architecture = widened(run.architecture, parameters(contender.architecture))
    return Contender(contender.name, True, architecture, _own_budget(contender.budget, run))


def _largest(space: Space) -> Architecture:
    """Return the architecture of a space with the most parameters."""
    sizes, backbone = space.sizes, space.sizes.backbone

    def size(index: int, layer: Layer) -> int:
        own = None
        if backbone is not None:
            own = replace(backbone, mixers=(backbone.mixers[index],), ropes=(backbone.ropes[index],))
        return parameters(replace(sizes, layers=(layer,), backbone=own))

    largest = [max(options, key=functools.partial(size, index)) for index, options in enumerate(space.options)]
    return sizes.with_layers(largest)


def _by_hand(name: str, config: CompareConfig, share: float, vocab_size: int) -> Contender:
    """Return a hand-designed hybrid whose layers together have the given softmax share, as far as possible."""
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
    """Return the contenders with wider MLPs, so that each has as many parameters as the largest.

    The MLPs of pretrained models stay as they are, since their weights are given.

    Raises:
        UserError: no MLP width brings a contender within `TOLERANCE` of the largest.
    """
    most = max(parameters(one.architecture) for one in every)
    matched = [_with_width(one, widened(one.architecture, most)) for one in every]
    for one in matched:
        if one.architecture.backbone is None and abs(parameters(one.architecture) - most) > TOLERANCE * most:
            raise UserError(
                f"{one.name} cannot have {most:,} parameters within {100 * TOLERANCE:g} %, as the largest model has: "
                f"the closest MLP width gives {parameters(one.architecture):,}; compare models of similar sizes."
            )
    return matched


def _with_width(one: Contender, architecture: Architecture) -> Contender:
    """Return a contender with the MLP width of an architecture; its search has it too."""
    search = one.search
    if search is not None:
        search = replace(search, model=replace(search.model, mlp_width=architecture.mlp_width))
    return replace(one, architecture=architecture, search=search)


def widened(architecture: Architecture, target: int) -> Architecture:
    """Return the architecture with the MLP width that brings its number of parameters closest to a target.

    A pretrained model stays as it is, and no MLP gets narrower.

    Args:
        architecture: the architecture.
        target: number of parameters.
    """
    if architecture.backbone is not None:
        return architecture
    here = parameters(architecture)
    each = parameters(replace(architecture, mlp_width=architecture.mlp_width + 1)) - here
    return replace(architecture, mlp_width=architecture.mlp_width + max(0, math.floor((target - here) / each + 0.5)))


@functools.cache
def parameters(architecture: Architecture) -> int:
    """Return the number of parameters of a model without allocating them."""
    with torch.device("meta"):
        return count_parameters(LanguageModel(architecture))
