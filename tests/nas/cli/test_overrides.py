"""Options of a command line: what each one sets, and how a value is written."""

import json
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nas.cli.overrides import assignment, name_of


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("trainer.steps=3", "trainer.steps"),
        ("+space=joint", "space"),
        ("~sweep.ranges.model", "sweep.ranges.model"),
        ("++model@other.place=tiny", "model"),
        ("name='a=b@c'", "name"),
        ("+sweep.ranges.model.width={low: 16, high: 32}", "sweep.ranges.model.width"),
    ],
    ids=str,
)
def test_what_an_option_sets(option: str, name: str) -> None:
    assert name_of(option) == name


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1e-5, "x=1e-05"),
        (0.1 + 0.2, "x=0.30000000000000004"),
        (True, "x=true"),
        (None, "x=null"),
        ("gumbel", "x=gumbel"),
        ("[0, 1]", "x=[0, 1]"),
        ("a b's", r"x='a b\'s'"),
    ],
    ids=str,
)
def test_a_value_is_written_as_hydra_reads_it(value: Any, word: str) -> None:
    assert assignment("x", value) == word
    read = OverridesParser.create().parse_override(word).value()
    assert read == (json.loads(value) if str(value).startswith("[") else value)
