"""How a run was made, for its page: from what its folder recorded at the start."""

import functools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.config import CONF, flat
from nas.errors import UserError
from nas.plugins.hydra_sources import register
from nas.runs.changes import CHANGES
from nas.runs.folder import Run
from nas.runs.options import FOLDER
from nas.runs.secrets import masked_config
from nas.runs.source import read_source

CHOICES = ("space", "data", "searcher")
"""Groups whose choices have options of their own; their names are shown first."""
NOT_SHOWN = {*FOLDER, *(f"{group}.name" for group in CHOICES), "sweep.search"}
"""Options that are shown elsewhere, or that say where a run is."""

Rows = list[tuple[str, str]]
"""Labels and values of a table."""


def provenance(folder: Path) -> Rows:
    """Return what made a run, as labels and values; empty if its config is missing or damaged.

    Runs of earlier versions recorded less; what they did not record is left out.
    """
    try:
        described = Run(folder).described()
    except UserError:
        return []
    config: dict[str, Any] = masked_config(described["config"])
    hardware = described.get("hardware") or {}
    versions = described.get("versions") or {}
    rows = [
        ("command", described.get("command_line")),
        ("options that differ from the defaults", _changed(described["command"], config)),
        ("data", _data(folder, config)),
        ("seed", config.get("seed")),
        ("hardware", " x ".join(str(hardware[key]) for key in ("count", "device") if key in hardware)),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("commit", _commit(described.get("commit"))),
        ("started", described.get("created")),
        ("changed when resumed", _changes(described.get(CHANGES))),
    ]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def _commit(commit: str | None) -> str | None:
    """Return the commit as text, which says whether the checkout had other changes."""
    if commit is None:
        return None
    return f"{commit.removesuffix('+')}, {'with uncommitted changes' if commit.endswith('+') else 'clean'}"


def _changes(recorded: Any) -> str:
    """Return the options that were changed when the run was resumed, as text."""
    try:
        return "; ".join(
            f"{name} from {change['from']} to {change['to']} at step {each['step']}"
            for each in recorded or []
            for name, change in each["options"].items()
        )
    except (LookupError, TypeError, AttributeError):  # damaged
        return ""


def _data(folder: Path, config: dict[str, Any]) -> str:
    """Return the task, and what it read."""
    name = str(config.get("data", {}).get("name"))
    source = read_source(folder)
    if source is not None:
        return f"{name}: {source}, hash {source.digest}"
    return name if config.get("data", {}).get("path") else f"{name}, without files"


def _changed(command: str, config: dict[str, Any]) -> str:
    """Return the options of a run that differ from the defaults of its choices, as on a command line."""
    given = flat(config)
    choices = {group: given[f"{group}.name"] for group in CHOICES if f"{group}.name" in given}
    defaults = _defaults(command, tuple(choices.items()))
    changed = [
        f"{option}={value}"
        for option, value in given.items()
        if option not in NOT_SHOWN and (option not in defaults or defaults[option] != value)
    ]
    return " ".join([*(f"{group}={choice}" for group, choice in choices.items()), *changed])


@functools.cache
def _defaults(command: str, choices: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the options of a command with these choices; empty if this version does not have one of them."""
    register()
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(initialize_config_dir(str(CONF), version_base="1.3"))
        try:
            composed = compose(command, [f"{'+' * (group == 'space')}{group}={choice}" for group, choice in choices])
            return flat(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]
        except (HydraException, OmegaConfBaseException):
            return {}
