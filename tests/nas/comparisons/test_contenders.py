"""Contenders: their size, their budgets, and models that cannot be compared."""

from pathlib import Path
from typing import Any

import pytest

from nas.comparisons.contenders import TOLERANCE, contenders, parameters
from nas.comparisons.recipe import ComparedRun
from nas.config import CompareConfig
from nas.errors import UserError
from nas.models.language_model import LanguageModel, count_parameters
from nas.search_spaces.architecture import Architecture
from tests.nas.architectures import small
from tests.nas.commands import BATCHES, DATA, SMALL, TRAINER, composed
from tests.nas.pretrained.written import GEMMA, model_of, write_config

VOCAB = 24


def config(*options: str) -> CompareConfig:
    made: CompareConfig = composed("compare", *SMALL, *options)
    return made


def given(architecture: Architecture, space: str | None = "token_hybrid", share: float = 0.1) -> ComparedRun:
    made = composed("search", "+space=token_hybrid", *SMALL)
    values: dict[str, Any] = {"name": "mine", "budget": vars(made.budget), "data": vars(made.data)}
    return ComparedRun(
        Path("run"),
        values | ({"space": {"name": space}} if space else {}),
        architecture,
        [share] * len(architecture.mixers),
        chosen=space == "joint",
    )


def test_all_have_as_many_parameters_as_the_largest() -> None:
    wide = ["model.width=32", "model.key_dim=16", "model.value_dim=16", "model.layers=4"]
    every = contenders(config(*wide, "baselines=[softmax,linear,token_hybrid,interleaved_3_1]"), [], VOCAB)
    assert [one.name for one in every] == ["softmax", "linear", "token_hybrid", "interleaved_3_1"]
    counts = [parameters(one.architecture) for one in every]
    assert max(counts) - min(counts) <= TOLERANCE * max(counts)
    widths = {one.name: one.architecture.mlp_width for one in every}
    assert widths["token_hybrid"] == 16 < widths["softmax"], "the router and the gates are the largest's"
    assert parameters(small("linear")) == count_parameters(LanguageModel(small("linear")))


def test_pretrained_models_keep_their_mlps(tmp_path: Path) -> None:
    config = composed("compare", *DATA, *BATCHES, *TRAINER, "baselines=[softmax,linear,lt]")
    config.model = model_of(write_config(tmp_path))
    every = contenders(config, [], VOCAB)
    assert [one.architecture.mlp_width for one in every] == [24] * 3
    assert [one.architecture.vocab_size for one in every] == [256] * 3


def test_a_search_from_a_pretrained_model_is_a_contender_with_its_largest_layers(tmp_path: Path) -> None:
    folder = write_config(tmp_path, **GEMMA)
    options = ("searched=[layer_hybrid]", "baselines=[linear]")
    config = composed("compare", *DATA, *BATCHES, *TRAINER, *options)
    config.model = model_of(folder)
    searched, linear = contenders(config, [], VOCAB)
    assert searched.architecture.mixers == ("linear", "token_hybrid"), "a sliding layer has no routers"
    assert parameters(searched.architecture) > parameters(linear.architecture)


def test_models_that_cannot_be_of_one_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.comparisons.contenders.TOLERANCE", 1e-4)  # a column of an MLP is more
    with pytest.raises(UserError, match=r"softmax cannot have .* parameters within 0.01 %, as the largest model has"):
        contenders(config("baselines=[softmax,token_hybrid]"), [], VOCAB)


def test_names_tell_runs_apart_and_baselines_route_as_much_as_the_first_run() -> None:
    options = config("baselines=[random_routing,softmax]")
    one = options.model.architecture(small("token_hybrid", "token_hybrid").layers, VOCAB)
    runs = [given(one, share=0.2), given(one), given(one, space="joint", share=0.4), given(one, space=None)]
    found = contenders(options, runs, VOCAB)
    assert [c.name for c in found if c.searched] == [
        *("searched_token_hybrid_1", "searched_token_hybrid_2", "searched_joint", "searched_mine")
    ]
    by_hand = next(c for c in found if c.name == "random_routing")
    assert by_hand.budget.target == pytest.approx(0.2)
    assert by_hand.budget.resource == "softmax_share"
    assert found[0].budget.target == options.budget.target, "a token hybrid keeps the budget it was searched under"
    assert found[2].budget.target == pytest.approx(0.4), "that of a whole space would mean something else"


def test_a_run_of_a_hybrid_designed_by_hand_is_one() -> None:
    options = config("baselines=[softmax]")
    run = given(options.model.architecture(small("linear", "linear").layers, VOCAB), space=None, share=0.0)
    found = contenders(options, [run._replace(config=run.config | {"architecture": "softmax"})], VOCAB)
    assert [(one.name, one.searched) for one in found] == [("softmax_1", False), ("softmax", False)]
    found = contenders(options, [run._replace(config=run.config | {"architecture": "ls"})], VOCAB)
    assert [(one.name, one.searched) for one in found] == [("ls", False), ("softmax", False)]


def test_baselines_have_the_share_over_all_of_their_layers() -> None:
    options = config("model.layers=8", "budget.target=0.1", "baselines=[nats_l,token_hybrid,softmax]")
    found = {one.name: one for one in contenders(options, [], VOCAB)}
    assert found["nats_l"].architecture.routed_layers == (3, 7)
    assert found["nats_l"].budget.target == pytest.approx(0.4)
    assert found["token_hybrid"].budget.target == pytest.approx(0.1)


def test_a_given_routing_is_where_the_search_has_routers_and_spends_as_much() -> None:
    layers = ("model.layers=4", "model.routed_layers=[1,3]", "budget.target=0.1")
    options = config(*layers, "baselines=[random_routing]")
    one = options.model.architecture(small("linear", "token_hybrid", "linear", "token_hybrid").layers, VOCAB)
    alone = contenders(config(*layers, "baselines=[random_routing,nats_l]"), [], VOCAB)
    assert [c.budget.target for c in alone] == pytest.approx([0.1, 0.2]), "of the layers that route: two, and one"
    run = given(one)._replace(shares=[0.0, 0.3, 0.0, 0.1])
    by_hand = contenders(options, [run], VOCAB)[1]
    assert by_hand.architecture.routed_layers == (1, 3)
    assert by_hand.architecture.given_share == by_hand.budget.target == pytest.approx(0.2)


def test_a_name_of_all_placements_is_a_contender_each() -> None:
    found = contenders(config("model.layers=4", "baselines=[softmax,slll..llls]"), [], VOCAB)
    assert [(one.name, one.placements) for one in found[1:]] == [
        (name, "slll..llls") for name in ("slll", "lsll", "llsl", "llls")
    ]
    assert found[2].architecture.mixers == ("linear", "softmax", "linear", "linear")
    assert found[0].placements is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.layers=4", "baselines=[slll..llls,lsll]"], "baselines has lsll more than once"),
        (["baselines=[softmax,slll..lsll]"], "baselines has slll..lsll: slll..lsll does not begin at"),
        (["baselines=[softmax,slll..llls]"], "baselines has slll: architecture=slll has 4 layers, but model.layers=2"),
        (["baselines=[softmax,none]"], "baselines has none, which is unknown; choose from: softmax"),
        (["baselines=[softmax,linear,softmax]"], "baselines has softmax more than once"),
        (["baselines=[softmax]"], "are 1 to compare; give two or more"),
        (["baselines=[softmax,interleaved_3_1]"], "baselines has interleaved_3_1: .* give at least 4"),
    ],
)
def test_baselines_that_cannot_be(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        contenders(config(*options), [], VOCAB)
