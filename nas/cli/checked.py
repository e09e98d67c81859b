"""The config that a command runs: checked, or read from the run to resume, once all processes are connected."""

from nas.cli.checks import check, check_bounds
from nas.config import RunConfig, VisualizeConfig
from nas.console import silence
from nas.distributed.rendezvous import connect
from nas.runs.folder import restored


def checked(
    name: str, given: RunConfig | VisualizeConfig | None, resume: str | None, plugins: list[str]
) -> RunConfig | VisualizeConfig:
    """Return a config that can be run; UserError for the first option that cannot work.

    Args:
        name: name of the command.
        given: config of the options; None to take the one that the run in ``resume`` was started with.
        resume: folder of that run.
        plugins: option ``plugins``, already loaded; empty to load those of that run.
    """
    silence()  # now: Lightning sets its own levels when it is imported
    connect()
    if given is None:
        assert resume is not None
        given = restored(name, resume, plugins)
    if isinstance(given, RunConfig):
        check(given)
    else:
        check_bounds(given)
    return given
