"""Options as plain values: flat, restored, and registered by their names."""

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from nas.config import SCHEMAS, EvolutionConfig, RecallConfig, SweepConfig, choices, current, flat, nested, restore
from tests.nas.commands import ROOT, SEARCH, SMALL, composed


def test_groups_become_options_with_dots() -> None:
    given = {"a": 1, "b": {"c": [2], "d": {"e": None}}}
    assert flat(given) == {"a": 1, "b.c": [2], "b.d.e": None}
    assert nested(flat(given)) == given


def test_a_config_comes_back_from_plain_values_with_the_options_of_its_choices() -> None:
    config = composed("search", *SMALL, "+space=joint", "searcher=evolution", "data.pairs=3")
    back = restore("search", asdict(config))
    assert back == config
    assert isinstance(back.data, RecallConfig)
    assert isinstance(config.searcher, EvolutionConfig)


def test_values_of_an_earlier_version_get_their_name_of_now() -> None:
    stored = asdict(composed("sweep", *SEARCH)) | {"plugins": []}
    stored["budget"]["start"] = "dearest"
    stored["sweep"]["search"] = ["+budget.start=dearest", "name=dearest"]
    config = restore("sweep", stored)
    assert isinstance(config, SweepConfig)
    assert config.budget.start == "most_expensive"
    assert config.sweep.search == ["+budget.start=most_expensive", "name=dearest"]


def test_options_that_did_not_exist_have_their_default() -> None:
    stored = asdict(composed("search", "+space=token_hybrid", "data=text"))
    without = stored | {"data": {name: value for name, value in stored["data"].items() if name != "column"}}
    del without["logger"]  # a whole group
    assert current("search", without) == stored
    del without["data"]["length"]  # it has its value from a YAML file
    assert "length" not in current("search", without)["data"]


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
    assert choices("searcher") == "evolution, gradient, halving, optuna, pairs, random, rule"


GROUPS = sorted({path.split("/")[0] for path in SCHEMAS if "/" in path})
NAMED = re.compile(rf"(?<![\w./-])({'|'.join(GROUPS)})\.(?!html|json|safetensors)([a-z]\w*[a-z0-9])(?!\w)")
"""Matches an option of a group in a message; an f-string may continue a name that ends in an underscore."""


def messages(path: Path) -> Iterator[str]:
    """Every string of a file except docstrings: for an f-string its parts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def test_every_option_that_a_message_names_exists() -> None:
    groups: dict[str, set[str]] = {}
    for path, schema in SCHEMAS.items():
        groups.setdefault(path.split("/")[0], set()).update(field.name for field in fields(schema))
    files = [*ROOT.glob("nas/**/*.py"), *ROOT.glob("search_spaces/*.py"), *ROOT.glob("kernels/**/*.py")]
    named = {(path, found) for path in files for text in messages(path) for found in NAMED.findall(text)}
    assert len(named) > 50
    assert {(str(path), found) for path, found in named if found[1] not in groups[found[0]]} == set()
