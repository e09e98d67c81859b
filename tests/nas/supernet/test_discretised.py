"""One architecture of a supernet: its weights, its thresholds, and what it is worth."""

import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from nas.evaluation.evaluate import evaluate
from nas.models.router import Router
from nas.search_spaces.space import Code
from nas.supernet.discretised import Discretised, discretise
from nas.supernet.draws import choices_of_layers
from nas.training.module import TrainingModule
from tests.nas.supernet.test_thresholds import made


def discretised(module: TrainingModule, code: Code | None = None) -> Discretised:
    validation = {factor: module.task.validation_batches(factor) for factor in (1, 2)}
    return discretise(module.supernet, module.task, validation, code)


def biases(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([module.score.bias.detach() for module in model.modules() if isinstance(module, Router)])


@pytest.mark.parametrize("code", [(0, 1, 2), (2, 2, 1)])
def test_the_model_is_worth_what_the_supernet_is_as_this_architecture(code: Code) -> None:
    module = made("cpu", "layer_hybrid", "model.layers=3", begun=True)
    made_of = discretised(module, code)
    assert made_of.architecture == module.space.decode(code)
    assert module.space.encode(made_of.model.architecture) == made_of.code == code
    for factor, found in made_of.evaluations.items():
        batches = module.task.validation_batches(factor)
        shared = evaluate(module.model, batches, module.task.quality, made_of.policy, choices_of_layers(code))
        assert (found.quality, found.loss, found.shares) == (shared.quality, shared.loss, shared.shares)
        alone = evaluate(made_of.model, batches, module.task.quality, made_of.policy)
        assert (found.quality, found.loss, found.shares) == (alone.quality, alone.loss, alone.shares)


def test_by_default_it_is_what_the_supernet_has_learnt() -> None:
    module = made("cpu", "layer_hybrid", "budget.target=0.5", begun=True)
    module.architecture_logits.logits["0"].data[1] = 3.0
    assert discretised(module).code == module.supernet.code


def test_routers_are_calibrated_once_routing_has_begun() -> None:
    module = made("cpu", "token_hybrid", "budget.exact=true", "budget.target=0.4", begun=True)
    before = biases(module.model)
    one = discretised(module)
    assert not torch.equal(biases(one.model), before)
    assert torch.equal(biases(one.model), biases(module.model)), "controls have the same thresholds"
    shares = evaluate(one.model, [module.task.full_batch(step) for step in range(64)], "recall").layer_shares
    assert sum(shares.values()) / len(shares) == pytest.approx(0.4, abs=0.01)
    early = made("cpu", "token_hybrid", "budget.exact=true", "budget.target=0.4", "budget.dense_until=1")
    assert torch.equal(biases(discretised(early).model), before)


def test_it_cannot_be_changed_and_training_on_does_not_change_its_weights() -> None:
    module = made("cpu", "token_hybrid", begun=True)
    one = discretised(module)
    with pytest.raises(FrozenInstanceError):
        one.code = (1, 1)  # type: ignore[misc]
    before = {name: weight.clone() for name, weight in one.model.state_dict().items()}
    with torch.no_grad():
        for parameter in module.model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(weight, before[name]) for name, weight in one.model.state_dict().items())


def test_shares_that_are_not_finite_count_as_softmax_attention() -> None:
    one = discretised(made("cpu", "token_hybrid", begun=True))
    own = one.evaluation.shares
    lost = replace(one.evaluation, shares={0: [math.nan] * len(own[0]), 1: own[1]})
    other = replace(one, evaluations={1: lost})
    assert other.shares == {1: one.shares[1]}
    assert other.used == pytest.approx((1.0 + one.shares[1]) / 2)
    assert one.used == pytest.approx((one.shares[0] + one.shares[1]) / 2)
