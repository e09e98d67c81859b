"""Options in the syntax of a command line, read by Hydra's parser and written for it."""

import functools
import json
import re
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import MISSING, Container, DictConfig, OmegaConf

from nas.config import flat
from nas.errors import UserError

Value = float | int | str | bool | None
"""Value of an option on a command line; a list is given as text in Hydra's syntax."""
PLAIN_WORD = re.compile(r"[A-Za-z_][\w./-]*")
"""Matches strings that need no quotes for Hydra."""


def given() -> list[str]:
    """Return the options of this command line as typed, without those of Hydra itself."""
    return cast(list[str], OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False))


def name_of(option: str) -> str:
    """Return the dotted name or the group that an option of a command line sets.

    >>> [name_of(option) for option in ("trainer.steps=3", "+space=joint", "~sweep.ranges.model", "model@other=tiny")]
    ['trainer.steps', 'space', 'sweep.ranges.model', 'model']
    """
    return _parser().parse_override(option).key_or_group


def beside_resume(composed: DictConfig) -> dict[str, Any]:
    """Return the options that this command line sets beside ``resume``, by dotted name; those of a given group too.

    Args:
        composed: config as composed by Hydra; options that are missing in it are left out.
    """
    found: dict[str, Any] = {}
    for option in given():
        name = name_of(option)
        if name == "experiment":
            raise UserError(f"{option} cannot be given beside resume; give the options that are to change.")
        value = OmegaConf.select(composed, name)
        if isinstance(value, Container):
            value = OmegaConf.to_container(value, throw_on_missing=False, resolve=True)
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return {name: value for name, value in found.items() if value != MISSING}


def assignment(option: str, value: Value) -> str:
    """Return the text that sets an option to a value, in quotes if Hydra needs them.

    >>> assignment("name", "two words")
    "name='two words'"
    """
    if isinstance(value, str) and not PLAIN_WORD.fullmatch(value) and not value.startswith("["):
        return f"{option}='" + value.replace("'", "\\'") + "'"
    return f"{option}={value if isinstance(value, str) else json.dumps(value)}"


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
