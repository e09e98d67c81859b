"""Options as a command line has them, read by Hydra's own parser and written as that parser reads them."""

import functools
import json
import re

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

Value = float | int | str | bool | None
"""Value of an option on a command line; a list is the text that Hydra reads."""
PLAIN_WORD = re.compile(r"[A-Za-z_][\w./-]*")
"""Strings that Hydra reads as they are."""


def given() -> list[str]:
    """Return the options of this command line, without those of Hydra itself."""
    return list(HydraConfig.get().overrides.task)


def name_of(option: str) -> str:
    """Return what an option of a command line sets: a dotted name or a group.

    >>> [name_of(option) for option in ("trainer.steps=3", "+space=joint", "~sweep.ranges.model", "model@other=tiny")]
    ['trainer.steps', 'space', 'sweep.ranges.model', 'model']
    """
    return _parser().parse_override(option).key_or_group


def resume_alone() -> bool:
    """Return whether this command line has no option but ``resume``, and perhaps where the plugins of the run are."""
    return all(name_of(option) in ("resume", "plugins") for option in given())


def assignment(option: str, value: Value) -> str:
    """Write the option with this value, in quotes where Hydra needs them.

    >>> assignment("name", "two words")
    "name='two words'"
    """
    if isinstance(value, str) and not PLAIN_WORD.fullmatch(value) and not value.startswith("["):
        return f"{option}='" + value.replace("'", "\\'") + "'"
    return f"{option}={value if isinstance(value, str) else json.dumps(value)}"


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
