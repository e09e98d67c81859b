"""The four spaces as sets of architectures: uniform draws, codes, and mutations of one layer."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import optuna
import pytest

from nas import search_spaces
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space, option_name
from tests.nas.architectures import small
from tests.nas.commands import MODEL, composed

SIZES = {"token_hybrid": 1, "layer_hybrid": 3**3, "chunk_size": 5**3, "joint": 8**3}
"""The four spaces with three layers and their default options."""


def space(name: str) -> Space:
    config = composed("search", f"+space={name}", *MODEL, "model.layers=3")
    return search_spaces.build(config.space, config.model, vocab_size=11)


@pytest.fixture(params=SIZES)
def every(request: pytest.FixtureRequest) -> Space:
    """Return each space in turn."""
    return space(request.param)


def test_there_are_four_spaces() -> None:
    assert set(search_spaces.names()) == set(SIZES)


def test_size_is_the_number_of_codes(every: Space) -> None:
    assert every.size == SIZES[every.name]
    assert len(set(every.codes())) == every.size


def test_decode_and_encode_are_inverse_for_every_code(every: Space) -> None:
    architectures = {every.decode(code): code for code in every.codes()}
    assert len(architectures) == every.size
    for architecture, code in architectures.items():
        assert every.encode(architecture) == code
        assert architecture.with_layers(every.sizes.layers) == every.sizes
        assert all(layer in options for layer, options in zip(architecture.layers, every.options, strict=True))


def test_sampling_is_uniform(every: Space) -> None:
    random, expected = Random(0), 30
    counts = Counter(every.encode(every.sample(random)) for _ in range(expected * every.size))
    chi_squared = sum((counts[code] - expected) ** 2 / expected for code in every.codes())
    freedom = every.size - 1
    assert abs(chi_squared - freedom) <= 4 * (2 * freedom) ** 0.5, "four standard deviations"


def test_a_seed_determines_the_draws(every: Space) -> None:
    draws = [[every.sample(random) for _ in range(20)] for random in (Random(1), Random(1), Random(2))]
    assert draws[0] == draws[1]
    assert (draws[0] != draws[2]) == (every.size > 1)


def test_mutation_changes_one_layer_and_each_layer_equally_often(every: Space) -> None:
    random = Random(3)
    architecture = every.sample(random)
    mutants = [every.mutate(architecture, random) for _ in range(1000)]
    if every.size == 1:
        assert set(mutants) == {architecture}
        return
    code = every.encode(architecture)
    assert {every.encode(mutant) for mutant in mutants} == {
        other for other in every.codes() if sum(a != b for a, b in zip(code, other, strict=True)) == 1
    }
    changed = Counter(
        next(
            index
            for index, pair in enumerate(zip(mutant.layers, architecture.layers, strict=True))
            if len(set(pair)) > 1
        )
        for mutant in mutants
    )
    assert all(280 <= changed[layer] <= 390 for layer in every.choosing), "a third of 1000, within four deviations"


def test_optuna_suggests_every_architecture(every: Space) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(12 * every.size)]
    suggested = {every.encode(every.suggest(trial)) for trial in trials}
    assert suggested == set(every.codes())
    for layer in every.choosing:
        assert {trial.params[f"layer_{layer}"] for trial in trials} == set(map(option_name, every.options[layer]))
    assert len(trials[0].params) == len(every.choosing)


def test_a_layer_with_one_option_is_no_parameter_and_never_changes() -> None:
    layers = ((Layer("linear", 4),), (Layer("softmax", 4), Layer("linear", 4)))
    mixed = Space("mixed", small("linear", "softmax"), layers)
    assert mixed.choosing == (1,)
    assert mixed.routed == ()
    assert {mixed.mutate(mixed.decode((0, 0)), Random(seed)) for seed in range(9)} == {mixed.decode((0, 1))}
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    mixed.suggest(trial)
    assert trial.params.keys() == {"layer_1"}


def test_options_are_named_by_mixer_and_chunk_size() -> None:
    assert [option_name(option) for option in space("joint").options[0]] == [
        *("softmax", "linear", "token_hybrid@16", "token_hybrid@32", "token_hybrid@64", "token_hybrid@128"),
        *("token_hybrid@256", "window"),
    ]


def test_an_architecture_is_named_layer_by_layer() -> None:
    made = space("joint")
    code = tuple(len(options) - 1 for options in made.options)
    assert made.names(code) == tuple(option_name(options[-1]) for options in made.options)


def test_a_single_architecture_is_a_space_too() -> None:
    only = Space.of(small("softmax", "token_hybrid"))
    assert only.size == 1
    assert only.routed == (1,)
    assert list(only.codes()) == [(0, 0)]
    assert only.mutate(only.sizes, Random(0)) == only.sizes
    assert only.sample(Random(0)) == only.sizes


@pytest.mark.parametrize("code", [(), (0,), (0, 0, 0, 0), (0, 3, 0), (0, -1, 0)], ids=str)
def test_a_code_of_another_space_is_refused(code: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is not of layer_hybrid, whose layers have 3, 3, 3 options"):
        space("layer_hybrid").decode(code)


@pytest.mark.parametrize(
    "changed", [{"width": 32}, {"layers": (Layer("linear", 4),) * 3}, {"layers": (Layer("linear", 8),) * 2}], ids=str
)
def test_an_architecture_of_another_space_is_refused(changed: dict[str, Any]) -> None:
    ours = space("layer_hybrid")
    other = replace(ours.sizes, **changed)
    with pytest.raises(ValueError, match="is not an architecture of layer_hybrid"):
        ours.encode(other)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (((Layer("softmax", 4),),), "options has 1 layers; the model has 2"),
        (((Layer("softmax", 4),), ()), r"options\[1\]=\(\) is not allowed"),
        (
            ((Layer("softmax", 4),) * 2, (Layer("linear", 4),)),
            r"options\[0\]=.* is not allowed; give each layer options",
        ),
    ],
    ids=["too few", "none", "twice"],
)
def test_wrong_options_are_refused(options: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Space("wrong", small("softmax", "linear"), options)
