"""What every command does around its job: compose the config, show errors as sentences, end with the right status."""

import errno
import sys
from collections.abc import Callable
from typing import TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from nas.config import RunConfig, register
from nas.errors import UserError
from nas.run import Run

Config = TypeVar("Config", bound=RunConfig)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def command(name: str, job: Callable[[Config, Console], int], missing: dict[str, str]) -> Callable[[], None]:
    """The main function of ``python -m nas.<name>``: ``job`` gets its config and returns the exit status.

    Args:
        name: name of the command and of its file in conf/.
        job: does the work.
        missing: for each option without a default, what to tell a user who did not give it.
    """
    register()

    @hydra.main(version_base="1.3", config_path="pkg://conf", config_name=name)
    def main(composed: DictConfig) -> None:
        console = Console()
        try:
            status = job(_config(name, composed, missing), console)
        except UserError as error:
            status = _fail(str(error))
        except KeyboardInterrupt:
            status = _fail("stopped.", INTERRUPTED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG):
                raise
            where = error.filename or composed.output
            status = _fail(
                f"cannot write {where}: {error.strerror}. What was written before is kept; make room or permission, "
                "then go on with resume=FOLDER of this run, or give another place with output=FOLDER."
            )
        if status:
            sys.exit(status)

    return main


def _config(name: str, composed: DictConfig, missing: dict[str, str]) -> Config:  # type: ignore[type-var]
    """The typed config; on resume without other options, the one the run was started with."""
    overrides = list(HydraConfig.get().overrides.task)
    folder = composed.resume
    if folder is not None and all(override.startswith("resume=") for override in overrides):
        for key, value in Run.reopen(name, folder).config().items():
            if key not in ("resume", "output"):
                OmegaConf.update(composed, key, value, force_add=True)
    for key, advice in missing.items():
        if OmegaConf.is_missing(composed, key):
            raise UserError(advice)
    config: Config = OmegaConf.to_object(composed)  # type: ignore[assignment]
    return config


def _fail(message: str, status: int = 1) -> int:
    Console(stderr=True).print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True, highlight=False)
    return status


def _escape(text: str) -> str:
    """Square brackets in a message are not markup."""
    return text.replace("[", r"\[")


def start(name: str, config: RunConfig) -> Run:
    """The run folder: a new one, or the one to resume, which must have been started with the same config."""
    if config.resume is None:
        return Run.create(name, config)
    run = Run.reopen(name, config.resume)
    run.require_same_config(config)
    return run
