"""Controls: the same weights under other routings, or as other architectures of the same space."""

from collections.abc import Mapping
from random import Random

from nas.data.seeding import generator, stable_seed
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.models.mixers import Policy, first_alone
from nas.models.operations import dense_share
from nas.models.policies import at_random, drop_all, keep_all
from nas.runs.metrics import Figures, Row
from nas.search_spaces.space import Code
from nas.searchers.draws import Draws
from nas.supernet.architecture_logits import choices_of_layers
from nas.supernet.discretised import Discretised, Validation
from nas.supernet.supernet import Supernet

FOUND = "found architecture"
"""Row of an architecture that was searched with shared weights."""
RANDOM = "random, same share"
"""Row of a random routing."""


def learnt(discretised: Discretised) -> Row:
    """The row of what was learnt."""
    return _row(_name(discretised), discretised.supernet, discretised.code, discretised.evaluations)


def controls(discretised: Discretised, validation: Validation, measure: str) -> tuple[Row, ...]:
    """Evaluate the controls of what was learnt; none where neither a layer nor a router decides anything.

    Args:
        discretised: what was learnt.
        validation: batches to evaluate on.
        measure: figure of merit, see `nas.evaluation.metrics.quality_of`.
    """
    supernet = discretised.supernet

    def row(name: str, policies: Mapping[int, Policy | None], code: Code) -> Row:
        layer_choices = choices_of_layers(code)
        evaluations = {
            factor: evaluate(supernet.model, batches, measure, policies[factor], layer_choices)
            for factor, batches in validation.items()
        }
        return _row(name, supernet, code, evaluations)

    if supernet.space.choosing:
        others = _architectures(supernet, discretised.code)
        return tuple(row(name, dict.fromkeys(validation, supernet.policy), code) for name, code in others.items())
    if not _routes_by_content(discretised):
        return ()
    return tuple(row(name, each, discretised.code) for name, each in _routings(discretised).items())


def _name(discretised: Discretised) -> str:
    """Name of the row of what was learnt."""
    space = discretised.supernet.space
    if space.choosing:
        return FOUND
    if discretised.policy is first_alone or not space.routed:
        return "trained model"
    given = space.sizes.given_routing
    return "searched routing" if given is None else f"{given} routing"


def _routes_by_content(discretised: Discretised) -> bool:
    """Whether routers decide: not before routing begins, and not where the routing is given."""
    space = discretised.supernet.space
    return bool(discretised.policy is not first_alone and space.routed and space.sizes.given_routing is None)


def _row(name: str, supernet: Supernet, code: Code, evaluations: Mapping[int, Evaluation]) -> Row:
    return Row(name, {factor: Figures.of(one, _share(supernet, code, one)) for factor, one in evaluations.items()})


def _share(supernet: Supernet, code: Code, evaluation: Evaluation) -> float:
    """Softmax share over the layers that choose or route, or over all layers where none does."""
    space = supernet.space
    counted = sorted({*space.choosing, *space.routed}) or range(len(code))
    measured = evaluation.layer_shares
    each = [measured.get(layer, dense_share(space.options[layer][code[layer]])) for layer in counted]
    return sum(each) / len(each)


def _routings(discretised: Discretised) -> dict[str, dict[int, Policy | None]]:
    """The other routings by name: policies by length factor."""
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
    """Other architectures of the space by name: one drawn at random of at most the same cost, and both ends."""
    cost, architecture_logits = supernet.cost, supernet.architecture_logits
    limit = architecture_logits.cost_of(cost, learnt) + 1e-6
    ends = {"dearest": cost.densest} if cost.densest != cost.cheapest else {}
    ends = {name: code for name, code in (ends | {"cheapest": cost.cheapest}).items() if code != learnt}
    random = Random(stable_seed(supernet.seed, "random architecture"))
    draws = Draws(supernet.space, lambda code: architecture_logits.cost_of(cost, code) - limit, random)
    drawn = draws.fresh({learnt, *ends.values()})
    return ({"random, no dearer": drawn} if drawn else {}) | ends
