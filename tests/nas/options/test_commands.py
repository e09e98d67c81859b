"""Options of the commands: each command has its own, with a value for each, and `nas.config` has them all."""

from dataclasses import fields, is_dataclass

import pytest

from nas import config
from nas.__main__ import COMMANDS
from nas.options import commands
from nas.options.preparing import PrepareConfig

OPTIONS = {name: own for name, own in vars(commands).items() if getattr(own, "__module__", "") == commands.__name__}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_options(command: str) -> None:
    own = config.SCHEMAS[f"{command}_schema"]
    assert own is (PrepareConfig if command == "prepare" else OPTIONS[f"{command.capitalize()}Config"])
    assert issubclass(own, commands.CommandConfig)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_of_commands_are_imported_from_the_config_too(name: str) -> None:
    assert getattr(config, name) is OPTIONS[name]
    assert name in config.__all__
    assert is_dataclass(OPTIONS[name])


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "RunConfig"])
def test_each_option_of_a_command_is_described(name: str) -> None:
    for own in fields(OPTIONS[name]):
        assert own.metadata, f"{name}.{own.name} is no option()"


def test_what_trains_has_the_options_of_a_training() -> None:
    training = {"search", "sweep", "train", "compare"}
    having = {name for name in COMMANDS if issubclass(config.SCHEMAS[f"{name}_schema"], commands.RunConfig)}
    assert having == training
