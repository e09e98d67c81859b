"""How a command gets its run folder: a new one, or the folder of an earlier run to resume, with its config."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nas.config import RunConfig, restore
from nas.distributed.devices import precision_here
from nas.distributed.launch import launch_id, restarted
from nas.distributed.rendezvous import from_first, together
from nas.errors import UserError
from nas.files.lock import locked
from nas.files.saving import saving
from nas.plugins.loading import load
from nas.plugins.record import require
from nas.runs import checkpoints
from nas.runs.folder import CHECKPOINTS, WEIGHTS, Run
from nas.runs.secrets import STORAGE, VARIABLE, masked, storage_of_environment


@contextmanager
def opened(name: str, config: RunConfig) -> Iterator[Run]:
    """Yield the locked run folder of a command: a new one, or the one to resume, which must have the same config.

    Options that depend on the machine are resolved here, so that the folder records them and a resumed run keeps them.
    If several processes share a run, the first makes the folder once all are ready. A run that torchrun or SLURM
    restarts resumes by itself.

    Raises:
        UserError: another process writes to the folder, the run has another config, or the disk takes no more files.
    """
    config.trainer.precision = precision_here(config.trainer)
    together()
    folder, config.resume = from_first(lambda: _claimed(name, config))
    run = Run(Path(folder))
    with locked(run.path), saving(run.path):
        if config.resume is not None:
            from_first(lambda: run.require_same_config(config))
        yield run


def reopen(command: str, folder: str) -> Run:
    """Return the folder of an earlier run to resume; raise a UserError if it is not of this command."""
    run = Run(Path(folder))
    if not run.path.is_dir():
        raise UserError(f"resume={folder}: there is no such folder; give the folder of an earlier run.")
    described = run.described()
    if described["command"] != command:
        raise UserError(f"resume={folder} is a run of nas.{described['command']}, not of nas.{command}.")
    if checkpoints.newest(run.path) is None and (run.path / WEIGHTS).exists():
        raise UserError(
            f"resume={folder} has results but no checkpoint in {CHECKPOINTS}/ to resume from; start a new run."
        )
    return run


def _claimed(name: str, config: RunConfig) -> tuple[str, str | None]:
    """Return the path of the run folder, and the path that is resumed or None."""
    resume = config.resume or _of_this_launch(name, config)
    if resume is None:
        return str(Run.create(name, config).path), None
    return str(reopen(name, resume).path), resume


def _of_this_launch(name: str, config: RunConfig) -> str | None:
    """Return the folder in which a restarted launch began this run; None if there is none."""
    if not restarted():
        return None
    for folder in sorted((Path(config.output) / name).glob("*/"), reverse=True):
        with suppress(UserError):
            run = reopen(name, str(folder))
            if run.described().get("launch") == launch_id() and not run.differences(config):
                return str(folder)
    return None


def restored(name: str, folder: str, plugins: Sequence[str], changes: Mapping[str, Any]) -> RunConfig:
    """Return the config that a run was started with.

    Args:
        name: name of its command.
        folder: run folder.
        plugins: option ``plugins``, already loaded, in place of the run's own. If empty, the modules of the run's own
            option are loaded, which executes their code.
        changes: options that are given beside ``resume``. Of these, ``sweep.storage`` is used here: a storage outside
            the run folder must be given again, because the folder may come from somebody else, and a connection would
            send this user's data to any host.
    """
    described = reopen(name, folder).described()
    stored = described["config"]
    if isinstance(sweep := stored.get("sweep"), dict):
        sweep["storage"] = _storage(folder, sweep.get("storage"), changes.get(STORAGE))
    stored["plugins"] = plugins or load(stored.get("plugins", []))
    require(f"resume={folder}", described)
    try:
        config = restore(name, stored)
    except ValueError as error:
        raise UserError(
            f"resume={folder} has a config that this version cannot read: {error} Start a new run."
        ) from error
    config.resume = folder
    return config


def _storage(folder: str, stored: object, given: str | None) -> str | None:
    """Return the storage of a sweep to resume: the given one, or that of the environment, if it had one at its start.

    Raises:
        UserError: the storage is not given, or is given although the study lies in the run folder.
    """
    if stored is None:
        if given is not None:
            raise UserError(f"resume={folder} has its study in its folder; omit {STORAGE}={masked(given)}.")
        return None
    if (storage := given or storage_of_environment()) is None:
        raise UserError(
            f"resume={folder} is a sweep with its study in {masked(str(stored))}; give its storage again: "
            f"resume={folder} {STORAGE}=URL, or the environment variable {VARIABLE}."
        )
    return storage
