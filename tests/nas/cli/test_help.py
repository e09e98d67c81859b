"""The help of every command: a line for each option, with what its field says."""

import re
from dataclasses import fields

import pytest

from nas.cli import help
from nas.config import RecallConfig, TextConfig
from nas.search_spaces.options import option_of
from tests.nas.commands import nas
from tests.nas.plugins.written import Plugins

COMMANDS = ("search", "sweep", "train", "compare", "visualize", "generate", "evaluate", "export", "prepare")


def line(text: str, option: str) -> str:
    """The one line of an option."""
    found = [row for row in text.splitlines() if re.match(rf"\s*\+?{re.escape(option)}=", row)]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "search",
            ["+space=??? ", "set of architectures; one of: chunk_size, joint, layer_hybrid, token_hybrid"],
        ),
        ("train", ["architecture=??? "]),
        ("sweep", ["sweep=default ", "  sweep.trials=20 ", "sweep.heartbeat=5.0 "]),
        ("compare", ["baselines=[softmax,linear,random_routing,strided_routing] ", "seeds=5 "]),
    ],
)
def test_help_lists_groups_and_options(command: str, told: list[str]) -> None:
    ended = nas(command, "--help")
    assert (ended.status, ended.err) == (0, "")
    for text in (
        *told,
        "one of: 30m, 340m, 760m, pretrained, tiny\n",
        "one of: identifiers, mqar, needle, recall, ruler, state_tracking, text, tokens\n",
        "one of: argmax_ste, darts, drnas, gdas, gumbel, uniform\n",
        "one of: one_gpu, small_lm\n",
        "--cfg job",
        "-m seed=0,1,2",
        f"python -m nas.{command} resume=outputs/{command}/RUN",
    ):
        assert text in ended.out
    assert "schema" not in ended.out
    assert line(ended.out, "trainer.beta2").split(maxsplit=1) == [
        "trainer.beta2=0.9",
        "decay of AdamW's second moment (from 0 to below 1)",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_line_of_an_option_has_a_description(command: str) -> None:
    rows = [row for row in nas(command, "-h").out.splitlines() if re.match(r"\s*\+?[a-z_.0-9]+=", row)]
    assert len(rows) >= 5
    assert all(len(row.split(maxsplit=1)) == 2 for row in rows)


def test_help_follows_the_given_options() -> None:
    shown = nas("search", "+space=joint", "data=text", "trainer.steps=7", "--help").out
    assert "trainer.steps=7 " in shown
    assert line(shown, "space").startswith("space=joint ")
    assert line(shown, "space.operations").split()[0] == "space.operations=[softmax,linear,token_hybrid,window]"
    assert line(shown, "name").split()[0] == "name=joint_text"
    several = nas("search", "+space=joint", "logger=[csv,mlflow]", "--help").out
    assert line(several, "logger").startswith("logger=[csv,mlflow] ")
    for own in fields(TextConfig):
        assert option_of(own).help in line(shown, f"data.{own.name}")
    absent = {own.name for own in fields(RecallConfig)} - {own.name for own in fields(TextConfig)}
    assert not any(f"data.{name}=" in shown for name in absent)


def test_an_unknown_option_beside_help_is_refused() -> None:
    ended = nas("search", "trainer.stepz=3", "--help")
    assert ended.status == 1
    assert ended.err.startswith("error: trainer.stepz is not an option; did you mean trainer.steps?")


PLUGIN = """
from dataclasses import dataclass

from omegaconf import MISSING

from nas.config import DataConfig
from nas.plugins import register_task

@dataclass
class Options(DataConfig):
    symbols: int = MISSING

register_task("bare", lambda **options: None, Options)
"""
YAML = """
defaults: [bare_schema, _self_]
name: bare
symbols: 3
length: 8
batch_size: 1
validation_batches: 1
length_factors: [1]
"""


def test_an_option_of_a_plugin_needs_no_description(plugins: Plugins) -> None:
    plugins.write("bare_task.py", PLUGIN)
    plugins.write("conf/data/bare.yaml", YAML)
    shown = nas("search", "plugins=[bare_task]", "data=bare", "--help")
    assert (shown.status, shown.err) == (0, "")
    assert line(shown.out, "data.symbols").strip() == "data.symbols=3"


def test_only_whole_arguments_ask_for_help() -> None:
    assert help.wanted(["seed=1", "-h"])
    assert not help.wanted(["name=--help"])


def test_options_of_a_group_inside_a_group_are_listed() -> None:
    assert line(nas("evaluate", "--help").out, "suites.recall.ngram").split()[0] == "suites.recall.ngram=null"
