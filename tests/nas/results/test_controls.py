"""Controls: the rows beside the learnt routing and architecture."""

import pytest
import torch

from nas.results.controls import FOUND, RANDOM, _architectures, controls, learnt
from nas.supernet.discretised import discretise
from tests.nas.supernet.test_thresholds import made


@pytest.mark.parametrize(
    ("space", "names"),
    [
        ("layer_hybrid", {"random, same cost or less", "most expensive", "cheapest"}),
        ("chunk_size", {"random, same cost or less", "cheapest"}),  # every chunk size costs the same if all is kept
    ],
)
def test_no_architecture_has_two_rows(space: str, names: set[str]) -> None:
    grains = ["space.chunk_sizes=[4,8,16]", "budget.target=6000"] if space == "chunk_size" else ["budget.target=0.5"]
    module = made("cpu", space, *grains, "model.layers=3")
    module.architecture_logits.logits["0"].data[-1] = 3.0
    code = module.supernet.code
    others = _architectures(module.supernet, code)
    assert len({code, *others.values()}) == len(others) + 1
    assert others.keys() <= names
    limit = module.architecture_logits.cost_of(module.cost, code)
    if "random, same cost or less" in others:
        assert module.architecture_logits.cost_of(module.cost, others["random, same cost or less"]) <= limit + 1e-6


@pytest.mark.parametrize(
    ("space", "options", "first", "others"),
    [
        ("token_hybrid", [], "searched routing", [RANDOM, "all softmax", "all linear"]),
        ("token_hybrid", ["model.routed_layers=[]"], "trained model", []),
        ("layer_hybrid", ["budget.target=0.5"], FOUND, None),
    ],
)
def test_rows_have_the_same_lengths_and_shares_of_their_routing(
    space: str, options: list[str], first: str, others: list[str] | None
) -> None:
    module = made("cpu", space, *options, begun=True)
    validation = {factor: module.task.validation_batches(factor) for factor in (1, 2)}
    discretised = discretise(module.supernet, module.task, validation)
    rows = controls(discretised, validation, module.task.quality)
    own = learnt(discretised)
    assert own.name == first
    assert own.at_training_length.quality == discretised.evaluation.quality
    assert [list(row.by_factor) for row in (own, *rows)] == [[1, 2]] * (1 + len(rows))
    assert others is None or [row.name for row in rows] == others
    shares = {row.name: row.at_training_length.share for row in rows}
    assert shares.get("all softmax", 1.0) == 1.0
    assert shares.get("all linear", 0.0) == 0.0


def test_before_routing_begins_there_is_one_model_and_no_control() -> None:
    module = made("cpu", "token_hybrid", "budget.dense_until=1")
    validation = {1: module.task.validation_batches()}
    discretised = discretise(module.supernet, module.task, validation)
    assert learnt(discretised).name == "trained model"
    assert controls(discretised, validation, module.task.quality) == ()


def test_controls_are_the_same_however_often_they_are_evaluated() -> None:
    module = made("cpu", "token_hybrid", begun=True)
    validation = {1: module.task.validation_batches()}
    discretised = discretise(module.supernet, module.task, validation)
    first = controls(discretised, validation, module.task.quality)
    torch.rand(3)
    assert repr(controls(discretised, validation, module.task.quality)) == repr(first)
