"""Layers whose routers decide nothing lose them during the training, and the run writes plain layers."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas import search_spaces
from nas.budget.cost import SOFTMAX_SHARE, SpaceCost
from nas.data import build_task
from nas.errors import UserError
from nas.models.routing import FIRST_OPTION
from nas.search_spaces.space import Space
from nas.supernet.placement import Placement, placement_of
from nas.training.module import TrainingModule
from tests.nas.commands import SEARCH, contents, nas
from tests.nas.commands import composed as config_of

LAYERS = ("model.layers=4", "model.routed_layers=[0,1,3]")


@functools.cache
def space_of() -> Space:
    config = config_of("search", *SEARCH, *LAYERS)
    return search_spaces.build(config.space, config.model, 24)


def decided(share: float, *shares: float, target: float = 1.0) -> Placement:
    placement = Placement(space_of(), share)
    placement.decide(torch.tensor(shares)[:, None], SpaceCost(SOFTMAX_SHARE, placement.space, 1), target)
    return placement


def test_shares_decide_which_layers_keep_their_router() -> None:
    placement = decided(0.01, 0.01, 0.02, 0.0, 0.995)
    assert placement.code == (1, 0, 0, 2)
    assert placement.changed == (0, 3), "layer 2 is linear from the start"
    mixers = [options[option].mixer for options, option in zip(placement.options, placement.code, strict=True)]
    assert mixers == ["linear", "token_hybrid", "linear", "softmax"]
    assert [choice.option for choice in placement.placed([FIRST_OPTION] * 4)] == [1, 0, 0, 2]
    assert decided(0.1, 0.95, 1.0, 0.0, 0.05, target=0.34).code == (0, 2, 0, 1), "one of three layers may be softmax"
    again = Placement(space_of(), 0.01)
    assert (again.decided, again.changed) == (False, ())
    again.load_state_dict(placement.state_dict())
    assert (again.decided, again.code) == (True, placement.code)


def test_until_then_the_model_is_that_of_a_search_without_placement() -> None:
    config = config_of("search", *SEARCH, *LAYERS, "space.placement=0.01")
    task, space = build_task(config.data, config.seed), space_of()
    with_placement = TrainingModule(space, task, config, placement=placement_of(config, space))
    without = TrainingModule(space, task, config).model.state_dict()
    weights = with_placement.model.state_dict()
    assert weights.keys() == without.keys()
    assert all(torch.equal(weight, without[name]) for name, weight in weights.items())
    assert with_placement.placed == with_placement.supernet


def test_the_share_of_a_placed_model_is_that_of_all_layers_that_were_routed() -> None:
    config, space = config_of("search", *SEARCH, *LAYERS), space_of()
    placement = decided(0.01, 0.0, 0.3, 0.0, 1.0)
    module = TrainingModule(space, build_task(config.data, config.seed), config, placement=placement)
    placed = module.placed
    assert placed.space.routed == (1,)
    assert list(placed.counted) == [0, 1, 3]
    assert placed.cost.resource == SOFTMAX_SHARE
    assert placed.cost.relative(placed.cost.of((0, 0, 0, 0), {1: 0.3})) == pytest.approx((0.0 + 0.3 + 1.0) / 3)
    assert placed.model.architecture.mixers == ("linear", "token_hybrid", "linear", "softmax")


def test_a_search_ends_in_plain_layers_and_resumes_to_the_same(tmp_path: Path) -> None:
    options = (*SEARCH, "space.placement=0.5", "budget.settle_from=1", "budget.target=1", f"output={tmp_path}")
    ended = nas("search", *options)
    assert ended.status == 0, ended.err
    written = json.loads((ended.run / "architecture.json").read_text())
    mixers = [layer["mixer"] for layer in written["architecture"]["layers"]]
    assert set(mixers) <= {"softmax", "linear"}
    assert f"Found: {', '.join(mixers)}." in ended.out
    assert not any("router" in name for name in load_file(ended.run / "model.safetensors"))
    weights = contents(ended.run)["model.safetensors"]
    for newest in sorted((ended.run / "checkpoints").iterdir())[1:]:
        newest.unlink()
    again = nas("search", f"resume={ended.run}")
    assert again.status == 0, again.err
    assert contents(ended.run)["model.safetensors"] == weights


def test_a_placement_that_would_never_be_made_is_refused() -> None:
    never = config_of("search", *SEARCH, "space.placement=0.01", "budget.dense_until=1")
    with pytest.raises(UserError, match=r"but budget\.dense_until=1 is the end of training; give a number below 1"):
        placement_of(never, space_of())
