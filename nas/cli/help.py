"""The text of ``--help``: a line for each option, with the description and the range of its field."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.config import CONF, choices
from nas.search_spaces.options import option_of

COLUMN = 42
"""Width of the column with names and values; a longer entry moves its description to the right."""
MISSING = "???"
PRESET = "experiment"
"""Group whose files override options of the other groups."""


class Line(NamedTuple):
    """One line of the help: the name and the current value of an option, and its description."""

    given: str
    told: str


def wanted(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for help."""
    return not {"--help", "-h"}.isdisjoint(arguments)


def text(name: str, arguments: Sequence[str]) -> str:
    """Return the help of a command; current values follow from the options on its command line.

    Hydra's own help takes a second longer: it composes a config for each list of choices.

    Args:
        name: name of the command and of its file in conf/.
        arguments: arguments of the command line.
    """
    given = get_args_parser().parse_args(list(arguments))
    options = list(given.overrides)
    if given.config_dir is not None:
        options.append(f"hydra.searchpath=['file://{os.path.abspath(given.config_dir)}']")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, options, return_hydra_config=True)
    trains = "trainer" in config
    return "\n".join(
        [
            str(config.hydra.help.header),
            f"Options and their current values; set one with name=value{', as in trainer.steps=500' * trains}:",
            "",
            *_column(_options(config, "")),
            *(line for own in _groups(config) for line in _group(config, own)),
            *(["", *_column([_preset(config)])] if trains else []),
            "",
            f"Flags: --cfg job prints the options as YAML; {'-m seed=0,1,2 starts a run for each value; ' * trains}"
            "--version prints versions; --hydra-help lists more.",
        ]
    )


def _groups(config: DictConfig) -> list["Field[Any]"]:
    """Return the fields of a config that are groups of options."""
    return [own for own in fields(_type(config)) if is_dataclass(own.type)]


def _group(config: DictConfig, own: "Field[Any]") -> Iterator[str]:
    """Yield the lines of a group: its choices, then its options."""
    missing = OmegaConf.is_missing(config, own.name)
    chosen = MISSING if missing else _chosen(config, own.name)
    head = f"{'+' * missing}{own.name}={chosen}"
    yield ""
    yield from _column([Line(head, f"{option_of(own).help}; one of: {choices(own.name)}")])
    if not missing:
        yield from _column(_options(config[own.name], f"{own.name}."))


def _chosen(config: DictConfig, group: str) -> str:
    """Return the selected files of a group; Hydra tells those of a list only on the command line."""
    if (one := config.hydra.runtime.choices.get(group)) is not None:
        return str(one)
    return next(given.partition("=")[2] for given in config.hydra.overrides.task if given.startswith(f"{group}="))


def _preset(config: DictConfig) -> Line:
    chosen = config.hydra.runtime.choices[PRESET]
    return Line(f"{PRESET}={chosen or 'null'}", f"preset of several options above; one of: {choices(PRESET)}")


def _options(holder: DictConfig, prefix: str) -> Iterator[Line]:
    """Yield a line for each option of a dataclass; ``prefix`` precedes its name."""
    for own in fields(_type(holder)):
        if is_dataclass(own.type):
            continue
        allowed = option_of(own)
        range_ = f" ({allowed.bounds.range})" if allowed.bounds is not None else ""
        indent = "  " if prefix else ""
        yield Line(f"{indent}{prefix}{own.name}={_value(holder, own.name)}", f"{allowed.help}{range_}")


def _type(holder: DictConfig) -> Any:
    """Return the dataclass of a config or of a group."""
    return OmegaConf.get_type(holder)


def _value(holder: DictConfig, name: str) -> str:
    """Return the current value of an option as on a command line; the interpolation if its target is missing."""
    if OmegaConf.is_missing(holder, name):
        return MISSING
    try:
        value = holder[name]
    except OmegaConfBaseException:
        return str(OmegaConf.to_container(holder, resolve=False)[name])  # type: ignore[index, call-overload]
    if isinstance(value, DictConfig | ListConfig):
        value = OmegaConf.to_container(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":")).replace('"', "")


def _column(lines: Iterator[Line] | Sequence[Line]) -> Iterator[str]:
    """Yield lines of text in which descriptions stand below each other."""
    for line in lines:
        yield f"{line.given:<{COLUMN}}  {line.told}".rstrip()
