"""Compose the config of a search in another command, from options as a user types them for `nas.search`."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.cli import overrides
from nas.cli.command import typed
from nas.cli.overrides import Value
from nas.config import CONF, SearchConfig, choices
from nas.errors import UserError, explain
from nas.plugins.hydra_sources import register

GROUPS = ("model", "relaxation", "budget", "trainer", "experiment")
"""Groups that may have a range in a sweep. Data and space may not: trials that differ in them cannot be compared."""


def compose_search(
    given: list[str], values: Mapping[str, Value] | None = None, common: Mapping[str, Any] | None = None
) -> SearchConfig:
    """Return the config of a search; UserError if Hydra cannot compose it.

    Args:
        given: options as a user types them.
        values: values that replace or follow them, by option.
        common: values by dotted name that replace those of the composed config.
    """
    register()
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(initialize_config_dir(str(CONF), version_base="1.3"))
        try:
            composed = compose("search", arguments(given, values or {}))
            for name, value in (common or {}).items():
                OmegaConf.update(composed, name, value, merge=False)
            return cast(SearchConfig, typed(composed, {}))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, choices)) from error


def arguments(given: list[str], values: Mapping[str, Value]) -> list[str]:
    """Return the arguments of a search's command line: the given options that no value replaces, then the values."""
    kept = [option for option in given if overrides.name_of(option) not in values]
    in_order = sorted(values, key=lambda option: option not in GROUPS)  # groups come before options of a group
    return [*kept, *(overrides.assignment(option, values[option]) for option in in_order)]
