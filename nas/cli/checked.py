"""The checked config of a command, from its options or from the run to resume."""

from typing import Any

from nas.cli.checks import check, check_same, check_values
from nas.config import PrepareConfig, RunConfig, VisualizeConfig
from nas.console import silence
from nas.distributed.rendezvous import connect
from nas.runs.changes import apply, record
from nas.runs.opening import reopen, restored


def checked(given: RunConfig | VisualizeConfig | PrepareConfig) -> RunConfig | VisualizeConfig | PrepareConfig:
    """Connect the processes of the command and check its options.

    Raises:
        UserError: an option cannot work; the message names it.
    """
    _connect()
    check_same(given)
    if isinstance(given, RunConfig):
        check(given)
    else:
        check_values(given)
    return given


def checked_again(name: str, resume: str, plugins: list[str], changes: dict[str, Any]) -> RunConfig:
    """Connect the processes of the command and return the checked config of the run to resume, with its changes.

    Args:
        name: name of the command.
        resume: folder of the run.
        plugins: option ``plugins``, already loaded; empty to load the plugins of the run.
        changes: options that are given beside ``resume``, by dotted name. The run folder records them.

    Raises:
        UserError: the run cannot be resumed, or an option cannot work or cannot change; the message names it.
    """
    _connect()
    config = restored(name, resume, plugins, changes)
    run = reopen(name, resume)
    changed = apply(name, run, config, changes)
    check_same(config)
    check(config)
    record(run, config, changed)
    return config


def _connect() -> None:
    silence()  # after the import of Lightning, which sets its own levels
    connect()
