"""What was learnt, beside other routings of the same weights, or other architectures of the same space."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from nas.data.seeding import generator, stable_seed
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.models.mixers import Policy
from nas.models.operations import dense_share
from nas.models.policies import at_random, drop_all, keep_all
from nas.search_spaces.space import Code
from nas.searchers.draws import Draws
from nas.supernet.architecture_logits import paths_of
from nas.training.module import TrainingModule

FOUND = "found architecture"
"""Row of an architecture that was found with shared weights."""


@dataclass(frozen=True)
class Row:
    """One routing or architecture of the searched weights: by length factor its results and its softmax share."""

    name: str
    results: dict[int, Evaluation]
    shares: dict[int, float]

    @property
    def share(self) -> float:
        """At the training length."""
        return self.shares[1]


def compare(module: TrainingModule) -> list[Row]:
    """What was learnt first; then, with the same weights, other architectures of the space, or other routings."""
    validation = {factor: module.task.validation_batches(factor) for factor in module.config.data.length_factors}

    def row(name: str, policies: Mapping[int, Policy | None] | Policy | None, code: Code = module.found) -> Row:
        each = policies if isinstance(policies, Mapping) else dict.fromkeys(validation, policies)
        paths = paths_of(code)
        results = {
            factor: evaluate(module.model, batches, module.task.quality, each[factor], paths)
            for factor, batches in validation.items()
        }
        return Row(name, results, {factor: _share(module, code, result) for factor, result in results.items()})

    if module.space.choosing:
        return [row(name, module.policy, code) for name, code in _architectures(module).items()]
    if module.policy is None or not module.space.routed:
        return [row("trained model", module.policy)]
    if (given := module.space.sizes.given_routing) is not None:
        return [row(f"{given} routing", module.policy)]
    learnt = row("searched routing", module.policy)
    random: dict[int, Policy | None] = {
        factor: at_random(result.shares, generator(module.config.seed, "random routing", factor))
        for factor, result in learnt.results.items()
    }
    kept, compressed = next(layer.operations for layer in module.space.sizes.layers if layer.routed)
    return [
        learnt,
        row("random, same share", random),
        row(f"all {kept}", keep_all),
        row(f"all {compressed}", drop_all),
    ]


def _share(module: TrainingModule, code: Code, result: Evaluation) -> float:
    """Share of softmax chunks over the layers that choose or route, or over all where none does."""
    space = module.space
    counted = sorted({*space.choosing, *space.routed}) or range(len(code))
    measured = result.layer_shares
    each = [measured.get(layer, dense_share(space.options[layer][code[layer]])) for layer in counted]
    return sum(each) / len(each)


def _architectures(module: TrainingModule) -> dict[str, Code]:
    """The architecture that was found, and others of its space: one drawn of those that cost no more, and the ends."""
    cost, found = module.cost, module.found
    limit = module.choices.cost_of(cost, found) + 1e-6
    ends = {"dearest": cost.densest} if cost.densest != cost.cheapest else {}
    ends = {name: code for name, code in (ends | {"cheapest": cost.cheapest}).items() if code != found}
    random = Random(stable_seed(module.config.seed, "random architecture"))
    draws = Draws(module.space, lambda code: module.choices.cost_of(cost, code) - limit, random)
    drawn = draws.fresh({found, *ends.values()})
    return {FOUND: found} | ({"random, no dearer": drawn} if drawn else {}) | ends
