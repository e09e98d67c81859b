"""From a discretised model to its figures."""

import time
from dataclasses import replace

import pytest

from nas.budget.cost import CONTEXTS, training_flops_per_token
from nas.models.language_model import count_parameters
from nas.results.controls import controls, learnt
from nas.results.measure import budget_use, choices_of, cost_of, flops_share, measure, planted_chunks_found
from nas.results.training_record import TrainingRecord
from nas.supernet.discretised import Discretised, discretise
from nas.training.module import TrainingModule
from tests.nas.supernet.test_thresholds import made

RECORD = TrainingRecord(True, None, 6, 6, 2.0, 768, 384.0, 0.25, None)


def discretised(module: TrainingModule) -> Discretised:
    return discretise(module.supernet, module.task, {1: module.task.validation_batches()})


def test_all_figures_are_of_one_model() -> None:
    module = made("cpu", "layer_hybrid", "budget.target=0.5", begun=True)
    one = discretised(module)
    validation = {1: module.task.validation_batches()}
    rows = (learnt(one), *controls(one, validation, module.task.quality))
    given = measure(one, rows, RECORD, module.config, module.task, None, time.monotonic() - 1)
    assert given.rows == rows
    assert (given.step, given.training_tokens, given.quality, given.searched) == (6, 768, "recall", None)
    assert given.evaluation_seconds >= 1
    assert given.chance == 1 / module.config.data.values
    assert given.verdict
    assert given.verdict[0].startswith("Nothing was learnt: recall ")
    assert not given.ahead
    assert given.cost == cost_of(one)
    assert given.budget.used == one.used == pytest.approx(given.learnt.at_training_length.share)


def test_costs_are_at_the_measured_shares() -> None:
    one = discretised(made("cpu", "token_hybrid", begun=True))
    cost = cost_of(one)
    assert cost.parameters == count_parameters(one.model)
    assert list(cost.kv_bytes) == list(cost.flops_per_token) == list(CONTEXTS)
    none = {layer: [0.0] * len(heads) for layer, heads in one.evaluation.shares.items()}
    linear = replace(one, evaluations={1: replace(one.evaluation, shares=none)})
    assert cost_of(linear).kv_bytes[CONTEXTS[0]] < cost.kv_bytes[CONTEXTS[0]]


def test_layers_have_the_options_of_the_code_with_probabilities_where_logits_learn() -> None:
    module = made("cpu", "layer_hybrid", "budget.target=0.5", begun=True)
    one = replace(discretised(module), code=(1, 2, 0, 0))
    choices, without = choices_of(one, learns=True), choices_of(one, learns=False)
    assert choices is not None
    assert without is not None
    assert [choice.found for choice in choices[:3]] == ["linear", "token_hybrid@8", "softmax"]
    assert choices[0].probabilities == pytest.approx({"softmax": 1 / 3, "linear": 1 / 3, "token_hybrid@8": 1 / 3})
    assert {choice.probabilities for choice in without} == {None}
    assert choices_of(discretised(made("cpu", "token_hybrid", begun=True)), learns=True) is None


def test_dense_steps_are_those_before_routing_began() -> None:
    module = made("cpu", "token_hybrid", "budget.dense_until=1")
    assert budget_use(discretised(module), module.config.budget, 6).dense_steps is None
    module.budget.begin_in_time(progress=1.0)
    assert budget_use(discretised(module), module.config.budget, 6).dense_steps == 7


def test_the_share_of_peak_flops_is_known_where_speed_and_peak_are() -> None:
    one = discretised(made("cpu", "token_hybrid", begun=True))
    flops = training_flops_per_token(one.architecture, one.shares, 64)
    assert flops_share(one, replace(RECORD, peak_flops=1e9), 64) == pytest.approx(384 * flops / 1e9)
    assert flops_share(one, RECORD, 64) is None
    assert flops_share(one, replace(RECORD, peak_flops=1e9, tokens_per_second=None), 64) is None


def test_the_layer_that_retrieves_has_the_figures_of_its_routes() -> None:
    module = made("cpu", "token_hybrid", begun=True)
    one = discretised(module)
    layer = planted_chunks_found(one, module.task)
    assert layer is not None
    found = one.evaluation.found_by_layer[layer.layer]
    assert (layer.precision, layer.recall) == (found.precision, found.recall)
    early = made("cpu", "token_hybrid", "budget.dense_until=1")
    assert planted_chunks_found(discretised(early), early.task) is None
