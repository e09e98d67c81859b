"""Searches as contenders: how they are written, which options they have, and which they cannot have."""

import pytest

from nas.comparisons.contenders import contenders, parameters
from nas.comparisons.searches import entries, search_of
from nas.config import CompareConfig
from nas.errors import UserError
from tests.nas.commands import SMALL, composed

VOCAB = 24


def config(*searched: str, shared: tuple[str, ...] = ()) -> CompareConfig:
    made: CompareConfig = composed("compare", *SMALL, "baselines=[softmax]", "model.layers=3", *shared)
    made.searched, made.shared = list(searched), list(shared)
    return made


def test_a_search_has_the_options_of_the_comparison_of_its_space_and_its_own() -> None:
    shared = ("budget=flops", "budget.target=5e4", "budget.price=0.2")
    own = "joint name=mine space.chunk_sizes=[8] model.window=16 budget.target=4e4 trainer.bilevel=true"
    given = config("layer_hybrid", own, "chunk_size retrain=true budget=kv_bytes budget.target=9000", shared=shared)
    made = [search_of(entry, given) for entry in entries(given)]
    assert [one.name for one in entries(given)] == ["searched_layer_hybrid", "mine", "searched_chunk_size_retrained"]
    assert [one.retrained for one in entries(given)] == [False, False, True]
    assert [one.budget.resource for one in made] == ["flops", "flops", "kv_bytes"]
    assert [one.budget.target for one in made] == [5e4, 4e4, 9000]
    assert [one.budget.price for one in made] == [0.2, 0.2, 0.1], "an own group replaces all shared options of it"
    assert [one.relaxation.pairs for one in made] == [False, False, True], "as the searcher of the space says"
    assert [one.model.window for one in made] == [64, 16, 64]
    assert [one.trainer.bilevel for one in made] == [False, True, False]
    assert all(one.data == given.data and one.model.layers == 3 and one.trainer.steps == 6 for one in made)


def test_the_largest_architecture_of_a_space_has_as_many_parameters_as_the_others() -> None:
    given = config("joint", "token_hybrid")
    every = {one.name: one for one in contenders(given, [], VOCAB)}
    joint, hybrid = every["searched_joint"], every["searched_token_hybrid"]
    assert joint.search is not None
    assert joint.architecture.mixers == ("token_hybrid",) * 3
    assert joint.space.size > 1 == hybrid.space.size
    assert joint.space.sizes.mlp_width == joint.search.model.mlp_width == joint.architecture.mlp_width
    assert every["softmax"].architecture.mlp_width > joint.architecture.mlp_width
    assert parameters(joint.architecture) == parameters(hybrid.architecture)


@pytest.mark.parametrize(
    ("searched", "message"),
    [
        (["none"], r"searched has none, whose space none is unknown; choose one of: chunk_size, joint"),
        (["joint", "joint seed=1"], r"searched has joint seed=1, but seed is the same for all contenders"),
        (["joint trainer.steps=9"], r"but trainer.steps is the same for all contenders; give trainer.steps=9 beside"),
        (["joint", "joint budget.target=9000"], r"searched has searched_joint more than once; give each search a name"),
        (["joint budget"], r"where budget is not an option; give options as name=value"),
        (["joint budget.target=9 'x"], r"which is not a space and options of nas.search"),
        (["joint retrain=maybe"], r"where retrain=maybe is not allowed; give true or false"),
        (["joint name=a/b"], r"whose name=a/b cannot name a folder"),
        (["joint name=softmax"], r"searched and baselines both have softmax; give the search another name"),
        (
            ["joint budget.target=9"],
            r"budget.target=9 cannot be met: architectures of joint need from \d+ to \d+ bytes",
        ),
        (["joint space.operations=[none]"], r"space.operations has none, which is unknown"),
        (["layer_hybrid searcher=evolution searcher.population=99"], r"searcher.population=99 is more than"),
    ],
    ids=str,
)
def test_searches_that_cannot_be(searched: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        contenders(config(*searched), [], VOCAB)
