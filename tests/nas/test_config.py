"""Options as plain values: flat, restored, and registered by their names."""

from dataclasses import asdict

import pytest

from nas.config import EvolutionConfig, RecallConfig, choices, flat, restore
from tests.nas.commands import SEARCH, SMALL, composed


def test_groups_become_options_with_dots() -> None:
    assert flat({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}


def test_a_config_comes_back_from_plain_values_with_the_options_of_its_choices() -> None:
    config = composed("search", *SMALL, "+space=joint", "searcher=evolution", "data.pairs=3")
    back = restore("search", asdict(config))
    assert back == config
    assert isinstance(back.data, RecallConfig)
    assert isinstance(config.searcher, EvolutionConfig)


@pytest.mark.parametrize(
    ("group", "option", "value", "told"),
    [
        ("data", "name", "poems", "data.name or searcher.name is missing or unknown"),
        ("data", "pairs", "many", "data.pairs: Value 'many'"),
        ("trainer", "stepz", 3, "trainer.stepz is not an option; did you mean trainer.steps"),
    ],
)
def test_values_that_are_none_of_a_config_are_named(group: str, option: str, value: object, told: str) -> None:
    values = asdict(composed("search", *SEARCH))
    values[group][option] = value
    with pytest.raises(ValueError, match=told):
        restore("search", values)


def test_the_choices_of_a_group_are_its_files() -> None:
    assert choices("searcher") == "evolution, gradient, optuna, pairs, random"
