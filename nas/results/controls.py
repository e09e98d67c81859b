"""Controls: the same weights under other routings, or as other architectures of the same space."""

from collections.abc import Mapping
from random import Random

from torch import Tensor

from nas.budget.cost import LONG, kv_bytes
from nas.data.seeding import generator, stable_seed
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.models.operations import dense_share
from nas.models.policies import at_random, drop_all, keep_all
from nas.models.routing import Policy, first_alone
from nas.runs.metrics import Figures, Row
from nas.search_spaces.space import Code
from nas.searchers.draws import Draws
from nas.supernet.discretised import Discretised, Validation, finite
from nas.supernet.draws import choices_of_layers
from nas.supernet.supernet import Supernet

HEALED = "healed model"
"""Row of the found architecture, or of the searched routing, after its healing."""
FOUND = "found architecture"
"""Row of an architecture that was searched with shared weights."""
RANDOM = "random, same share"
"""Row of a random routing."""
RANDOM_ARCHITECTURE = "random, same cost or less"
"""Row of a random architecture that costs at most as much as the one that was found."""
MOST_EXPENSIVE, CHEAPEST = "most expensive", "cheapest"
"""Rows of the two ends of the space."""


def learnt(discretised: Discretised, name: str | None = None) -> Row:
    """Return the row of the learnt routing and architecture, with a name of its own or another one."""
    return _row(name or _name(discretised), discretised.supernet, discretised.code, discretised.evaluations)


def controls(
    discretised: Discretised, validation: Validation, measure: str, byte_lengths: Tensor | None = None
) -> tuple[Row, ...]:
    """Evaluate the controls; return no row if neither a layer nor a router decides anything.

    Args:
        discretised: the trained model after discretising.
        validation: batches by length factor.
        measure: figure of merit, see `nas.evaluation.metrics.quality_of`.
        byte_lengths: bytes of each token, see `nas.data.batch.byte_lengths_of`.
    """
    supernet = discretised.supernet

    def row(name: str, policies: Mapping[int, Policy | None], code: Code) -> Row:
        layer_choices = choices_of_layers(code)
        evaluations = {
            factor: evaluate(
                supernet.model, batches, measure, policies[factor], layer_choices, byte_lengths=byte_lengths
            )
            for factor, batches in validation.items()
        }
        return _row(name, supernet, code, evaluations, discretised.evaluations)

    if supernet.space.choosing:
        others = _architectures(supernet, discretised.code)
        return tuple(row(name, dict.fromkeys(validation, supernet.policy), code) for name, code in others.items())
    if not _routes_by_content(discretised):
        return ()
    return tuple(row(name, each, discretised.code) for name, each in _routings(discretised).items())


def _name(discretised: Discretised) -> str:
    """Return the name of the row of the learnt routing and architecture."""
    space = discretised.supernet.space
    if space.choosing:
        return FOUND
    if discretised.policy is first_alone or not space.routed:
        return "trained model"
    given = space.sizes.given_routing
    return "searched routing" if given is None else f"{given} routing"


def _routes_by_content(discretised: Discretised) -> bool:
    """Return whether routers decide: False before routing begins and for a given routing."""
    space = discretised.supernet.space
    return bool(discretised.policy is not first_alone and space.routed and space.sizes.given_routing is None)


def _row(
    name: str,
    supernet: Supernet,
    code: Code,
    evaluations: Mapping[int, Evaluation],
    learnt: Mapping[int, Evaluation] | None = None,
) -> Row:
    architecture = supernet.space.decode(code)
    by_factor = {
        factor: Figures.of(
            one,
            _share(supernet, code, one),
            None if learnt is None else learnt[factor],
            kv_bytes(architecture, finite(one.layer_shares), LONG),
        )
        for factor, one in evaluations.items()
    }
    return Row(name, by_factor)


def _share(supernet: Supernet, code: Code, evaluation: Evaluation) -> float:
    """Return the softmax share over the layers that count, see `Supernet.counted`."""
    space, measured = supernet.space, evaluation.layer_shares
    each = [measured.get(layer, dense_share(space.options[layer][code[layer]])) for layer in supernet.counted]
    return sum(each) / len(each)


def _routings(discretised: Discretised) -> dict[str, dict[int, Policy | None]]:
    """Return the policies of the other routings, by name and by length factor."""
    seed, factors = discretised.supernet.seed, discretised.evaluations
    random: dict[int, Policy | None] = {
        factor: at_random(one.shares, generator(seed, "random routing", factor)) for factor, one in factors.items()
    }
    kept, compressed = next(layer.operations for layer in discretised.architecture.layers if layer.routed)
    return {
        RANDOM: random,
        f"all {kept}": dict.fromkeys(factors, keep_all),
        f"all {compressed}": dict.fromkeys(factors, drop_all),
    }


def _architectures(supernet: Supernet, learnt: Code) -> dict[str, Code]:
    """Return other architectures of the space by name.

    One is drawn at random among those that cost at most as much as ``learnt``; the others are both ends of the space.
    """
    cost, architecture_logits = supernet.cost, supernet.architecture_logits
    limit = architecture_logits.cost_of(cost, learnt) + 1e-6
    ends = {MOST_EXPENSIVE: cost.densest} if cost.densest != cost.cheapest else {}
    ends = {name: code for name, code in (ends | {CHEAPEST: cost.cheapest}).items() if code != learnt}
    random = Random(stable_seed(supernet.seed, "random architecture"))
    draws = Draws(supernet.space, lambda code: architecture_logits.cost_of(cost, code) - limit, random)
    drawn = draws.fresh({learnt, *ends.values()})
    return ({RANDOM_ARCHITECTURE: drawn} if drawn else {}) | ends
