"""The checked config of a command, from its options or from the run to resume."""

from nas.cli.checks import check, check_same, check_values
from nas.config import RunConfig, VisualizeConfig
from nas.console import silence
from nas.distributed.rendezvous import connect
from nas.runs.folder import restored


def checked(
    name: str,
    given: RunConfig | VisualizeConfig | None,
    resume: str | None,
    plugins: list[str],
    storage: str | None = None,
) -> RunConfig | VisualizeConfig:
    """Connect the processes of the run and return its checked config.

    Args:
        name: name of the command.
        given: config of the options; None for the config of the run in ``resume``.
        resume: folder of the run to resume; None for a new run.
        plugins: option ``plugins``, already loaded; empty to load the plugins of the run in ``resume``.

        storage: option ``sweep.storage``; None if it is not given, or if the command has no such option.

    Raises:
        UserError: an option cannot work; the message names it.
    """
    silence()  # after the import of Lightning, which sets its own levels
    connect()
    if given is None:
        assert resume is not None
        given = restored(name, resume, plugins, storage)
    check_same(given)
    if isinstance(given, RunConfig):
        check(given)
    else:
        check_values(given)
    return given
