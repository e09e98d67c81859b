"""Options in the syntax of a command line, read by Hydra's parser and written for it."""

import functools
import json
import re
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

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


def resume_alone() -> bool:
    """Return whether this command line has no option except ``resume`` and those that every resumed run may need."""
    return all(name_of(option) in ("resume", "plugins", "sweep.storage") for option in given())


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
