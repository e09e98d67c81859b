"""The searches of a comparison: spaces that are searched anew with each seed, each with options of its own."""

import re
import shlex
from typing import Any, NamedTuple

from nas.cli import overrides
from nas.cli.checks import check
from nas.cli.composing import compose_search
from nas.config import CompareConfig, SearchConfig, choices, flat
from nas.errors import UserError

SHARED = ("relaxation", "budget", "experiment")
"""Groups whose options on the command line of a comparison apply to all of its searches."""
COMMON = ("data", "model", "trainer")
"""Groups whose options all contenders have in common, unless a search has an option of its own."""
OWN = ("space", "searcher", "relaxation", "budget")
"""Groups that a search may have of its own, beside single options of model and trainer."""
EQUAL = ("trainer.steps", "trainer.learning_rate", "trainer.router_learning_rate")
"""Options that a search may not have of its own."""

NAME, RETRAIN = "name", "retrain"
"""Options of a search that `nas.search` does not get: name of the contender, whether its answers are retrained."""


class Entry(NamedTuple):
    """One value of the option ``searched``.

    Attributes:
        name: name of the contender.
        space: name of the space.
        options: options of the search, as a user types them for `nas.search`.
        retrained: whether each architecture that is found is then trained from scratch.
    """

    name: str
    space: str
    options: list[str]
    retrained: bool


def shared_options() -> list[str]:
    """Return the options of this command line that apply to all searches."""
    return [option for option in overrides.given() if _group(option) in SHARED]


def entries(config: CompareConfig) -> list[Entry]:
    """Return the searches of a comparison; UserError if a value of ``searched`` cannot be read, or if names repeat."""
    found = [_entry(given) for given in config.searched]
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(
            f"searched has {', '.join(sorted(twice))} more than once; give each search a name, as in "
            f"searched=['{found[0].space} name=NAME']."
        )
    return found


def _entry(given: str) -> Entry:
    try:
        space, *options = shlex.split(given)
    except ValueError as error:
        raise UserError(f"searched has {given!r}, which is not a space and options of nas.search: {error}.") from error
    if space not in (known := choices("space")).split(", "):
        raise UserError(f"searched has {given}, whose space {space} is unknown; choose one of: {known}.")
    name, retrained = None, False
    for option in options:
        if "=" not in option:
            raise UserError(f"searched has {given}, where {option} is not an option; give options as name=value.")
        own = overrides.name_of(option)
        if own == NAME:
            name = option.partition("=")[2]
        elif own == RETRAIN:
            retrained = _is_true(given, option)
        elif not _may_differ(own):
            raise UserError(
                f"searched has {given}, but {own} is the same for all contenders; give {option} beside searched. A "
                f"search may have its own options of: {', '.join(OWN)}, and single ones of model and trainer."
            )
    if name is None:
        name = f"searched_{space}{'_retrained' if retrained else ''}"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"searched has {given}, whose name={name} cannot name a folder; give letters and digits.")
    own_options = [option for option in options if overrides.name_of(option) not in (NAME, RETRAIN)]
    return Entry(name, space, own_options, retrained)


def _is_true(given: str, option: str) -> bool:
    value = option.partition("=")[2].lower()
    if value not in ("true", "false"):
        raise UserError(f"searched has {given}, where {option} is not allowed; give true or false.")
    return value == "true"


def _may_differ(name: str) -> bool:
    """Return whether a search may have an option of its own."""
    group, _, leaf = name.partition(".")
    return group in OWN or (group in ("model", "trainer") and bool(leaf) and name not in EQUAL)


def _group(option: str) -> str:
    return overrides.name_of(option).split(".")[0]


def search_of(entry: Entry, config: CompareConfig) -> SearchConfig:
    """Return the checked options of a search: those of the comparison, of its space, and its own.

    Args:
        entry: the space and the options of the search.
        config: options of the comparison.
    """
    own = {overrides.name_of(option) for option in entry.options}
    shared = [option for option in config.shared if not {overrides.name_of(option), _group(option)} & own]
    common: dict[str, Any] = {}
    for group in COMMON:
        common |= flat({group: vars(getattr(config, group))})
    common = {name: value for name, value in common.items() if name not in own} | {"seed": config.seed}
    given = [f"+space={entry.space}", f"data={config.data.name}", *shared, *entry.options]
    search = compose_search(given, common=common)
    search.output, search.plugins = config.output, config.plugins
    check(search)
    return search
