"""The options of the searches of a sweep: what the user gave, and what a trial sets on top of it.

A trial's config is composed as `python -m nas.search` composes it from the same words, so that a value that others
follow by interpolation, or a group such as relaxation, means the same, and the answer's line gives what was measured.
"""

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from nas.cli import overrides
from nas.cli.command import typed
from nas.cli.overrides import Value
from nas.config import CONF, SearchConfig, SweepConfig, flat
from nas.errors import UserError, explain
from nas.plugins.hydra_sources import register
from nas.runs.options import CODE, FOLDER, MACHINE, PLACES

GROUPS = ("model", "relaxation", "budget", "trainer", "experiment")
"""Groups that a range may choose from. Not data: trials on different data cannot be compared; nor space."""
NOT_OF_THE_SEARCH = ("sweep", *FOLDER)
NOT_VARIED = ("space.name", "data.name", *PLACES, *CODE, "seed", *NOT_OF_THE_SEARCH)
"""Options that must not have a range."""
MAY_DIFFER = {*MACHINE, *PLACES, *CODE} - {"trainer.strategy", "trainer.num_nodes"}
"""Options in which machines that work on one study may differ: a trial is one process, on whichever device."""


def given_search() -> list[str]:
    """The options of this command line that a search has too, and where else than in conf/ options are to be found."""
    given = [option for option in overrides.given() if overrides.name_of(option).split(".")[0] not in NOT_OF_THE_SEARCH]
    sources = HydraConfig.get().runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line"]
    return [*given, f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else given


def compose_search(given: list[str], values: Mapping[str, Value] | None = None) -> SearchConfig:
    """The config of a search with these options; UserError where there is no such search.

    Args:
        given: options as a user types them.
        values: options set after them.
    """
    register()
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(initialize_config_dir(str(CONF), version_base="1.3"))
        try:
            return cast(SearchConfig, typed(compose("search", words(given, values or {})), {}))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error)) from error


def words(given: list[str], values: Mapping[str, Value]) -> list[str]:
    """The options of a search as a command line has them: what was given unless a value replaces it, and the values."""
    kept = [option for option in given if overrides.name_of(option) not in values]
    in_order = sorted(values, key=lambda option: option not in GROUPS)  # a value of a group's option comes after it
    return [*kept, *(overrides.assignment(option, values[option]) for option in in_order)]


def line(given: list[str], values: Mapping[str, Value]) -> str:
    """The search with these options as a command line."""
    return f"python -m nas.search {shlex.join(words(given, values))}"


def names(config: SearchConfig) -> list[str]:
    """What may have a range in a sweep of this search."""
    every = (*flat(searched(config)), *GROUPS)
    return [name for name in every if not any(name == fixed or name.startswith(f"{fixed}.") for fixed in NOT_VARIED)]


def searched(config: SearchConfig) -> dict[str, Any]:
    """The plain options of a search, without those that are the sweep's or say where it is kept."""
    values = asdict(config)
    for name in NOT_OF_THE_SEARCH:
        values.pop(name, None)
    return values


def fixed(config: SweepConfig, ranges: Mapping[str, object]) -> dict[str, Any]:
    """The options that all trials share, on whatever machine, as text: by what two studies can be told apart."""
    return {
        name: str(value)
        for name, value in flat(searched(config)).items()
        if name not in ranges and name not in MAY_DIFFER and name.split(".")[0] not in ranges
    }
