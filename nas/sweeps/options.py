"""The options of the searches of a sweep: the user's options, and the values that a trial sets after them.

The config of a trial is composed from a command line like that of `python -m nas.search`. So interpolated values and
groups such as relaxation have the same meaning, and the printed command repeats the search of the trial.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, fields, is_dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig

from nas.cli import overrides
from nas.cli.composing import GROUPS, arguments
from nas.cli.overrides import Value
from nas.config import REFERENCE, SearchConfig, SweepConfig, flat
from nas.errors import UserError
from nas.runs.options import CODE, FOLDER, LOGGING, MACHINE, PLACES

NOT_OF_THE_SEARCH = ("sweep", *FOLDER)
NOT_VARIED = ("space.name", "data.name", *PLACES, *CODE, "seed", *NOT_OF_THE_SEARCH)
"""Options that must not have a range."""
ALIKE = ("trainer.strategy", "trainer.num_nodes", "trainer.context_parallel")
"""Options for processes that must not differ between machines of a study."""
MAY_DIFFER = {*MACHINE, *PLACES, *CODE, *LOGGING} - {*ALIKE}
"""Options that may differ between machines that work on one study: a trial is one process, on any device."""


def given_search(config: SweepConfig) -> list[str]:
    """Return the options of this command line that a search has too, and Hydra's search path if it was extended.

    Resolvers such as ${oc.env:HOME} are replaced by their values in ``config``, because a run folder has none.
    """
    every = [option for option in overrides.given() if overrides.name_of(option).split(".")[0] not in NOT_OF_THE_SEARCH]
    given = [_resolved(option, config) for option in every]
    sources = HydraConfig.get().runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line"]
    return [*given, f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else given


def _resolved(option: str, config: SweepConfig) -> str:
    """Return an option of the command line with the value of ``config`` if its text has a resolver."""
    if "${" not in REFERENCE.sub("", option):
        return option
    name = overrides.name_of(option)
    values = flat(asdict(config))
    if name not in values:
        raise UserError(f"{option} has a resolver in a group of options; give {name} without it, or its options.")
    value = values[name]
    return overrides.assignment(name, json.dumps(value) if isinstance(value, list) else value)


def search_command(given: list[str], values: Mapping[str, Value]) -> str:
    """Return the command line of a search."""
    return f"python -m nas.search {shlex.join(arguments(given, values))}"


def varied(config: SearchConfig) -> "dict[str, Field[Any] | None]":
    """Return the options and groups that may have a range in a sweep of this search, by name.

    Returns:
        The field of each option; None for groups, and for values in options that are dictionaries.
    """
    own_fields = dict(_fields(config))
    every = (*flat(searched(config)), *GROUPS)
    return {
        name: own_fields.get(name)
        for name in every
        if not any(name == fixed or name.startswith(f"{fixed}.") for fixed in NOT_VARIED)
    }


def _fields(config: Any, group: str = "") -> "Iterator[tuple[str, Field[Any]]]":
    """Yield the dotted name and the field of each option; ``group`` precedes the names."""
    for own in fields(config):
        value = getattr(config, own.name)
        if is_dataclass(value):
            yield from _fields(value, f"{group}{own.name}.")
        else:
            yield f"{group}{own.name}", own


def searched(config: SearchConfig) -> dict[str, Any]:
    """Return the options of a search as plain values, without the options of the sweep and of its folder."""
    values = asdict(config)
    for name in NOT_OF_THE_SEARCH:
        values.pop(name, None)
    return values


def fixed(config: SweepConfig, ranges: Mapping[str, object]) -> dict[str, Any]:
    """Return the options that all trials share on every machine, as text; they identify the study of a sweep."""
    return {
        name: str(value)
        for name, value in flat(searched(config)).items()
        if name not in ranges and name not in MAY_DIFFER and name.split(".")[0] not in ranges
    }
