"""What every command does around its job: compose the config, show errors as sentences, end with the right status."""

import atexit
import errno
import functools
import gc
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NoReturn, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from nas.config import CONF, RunConfig, VisualizeConfig, flat, register
from nas.console import silence
from nas.distributed.launch import Launch, launched
from nas.errors import INTERRUPTED, UserError, explain

Config = TypeVar("Config", bound=RunConfig | VisualizeConfig)

LOST = " by peer"
"""Part of what torch.distributed says when a process that it talks to is gone: the connection was closed, or reset."""
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG)


def command(name: str, job: Callable[[Config, Console], int], missing: dict[str, str]) -> Callable[[], None]:
    """The main function of ``python -m nas.<name>``: ``job`` gets its config and returns the exit status.

    Args:
        name: name of the command and of its file in conf/.
        job: does the work.
        missing: for each option without a default, what to tell a user who did not give it.
    """
    register()

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    def compose_and_do(composed: DictConfig) -> None:
        with _sentences():
            status = job(cast(Config, _config(name, composed, missing)), Console(quiet=not launched().first))
        if status:
            from nas.distributed.rendezvous import leave_together  # imports torch

            leave_together(status)

    def main() -> None:
        if not launched().first:
            logging.disable()  # Hydra's, of a multirun
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra leaves its errors to us
        with _sentences():
            compose_and_do()

    return main


@functools.cache
def _import_what_computes() -> None:
    """Import torch, Lightning and what is built on them, once options are understood.

    It takes seconds, for which help and most refusals should not wait. A quarter of that would go into looking for
    garbage among new objects, nearly all of which stay: they are exempt, in training as well.
    """
    if launched().world > 1:  # for DDP, which warns of looking for unused parameters once routing has begun
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    gc.disable()
    try:
        pass
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # Triton's bindings complain of what is left at the end


@contextmanager
def _sentences() -> Iterator[None]:
    """Show as a sentence whatever a user can mend, and exit; anything else is a bug and shows its traceback."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(explain(error))
    except KeyboardInterrupt:
        _fail("stopped; a run that had begun goes on with resume=FOLDER.", INTERRUPTED)
    except BrokenPipeError:
        Console().on_broken_pipe()
    except Exception as error:
        if not isinstance(error, OSError) or error.errno not in CANNOT_WRITE:
            _fail_over(error)
            raise
        where = f" {error.filename}" if error.filename else ""
        _fail(
            f"cannot write{where}: {error.strerror}. What was written before is kept; make room or permission, then go "
            "on with resume=FOLDER of this run, or give another place with output=FOLDER."
        )


def _fail(message: str, status: int = 1) -> NoReturn:
    """Say why and exit; of several processes one says it, and all exit with the same status."""
    started = launched()
    if started.world == 1:
        _say_error(message)
        sys.exit(status)
    if "nas.distributed.rendezvous" not in sys.modules:  # it is about the command line, which all have in common
        if started.first:
            _say_error(message)
        sys.exit(status)
    from nas.distributed.rendezvous import leave, tell_of_failure

    told = tell_of_failure(status)
    if told is None:
        _say_error(message if started.first else f"{_name_of(started)}: {message}")
    leave(status if told is None else told)


def _fail_over(error: Exception) -> None:
    """After a bug, or what another process's end did to this one: of several processes one shows its traceback."""
    if launched().world == 1:
        return
    from nas.distributed.rendezvous import FailedElsewhere, leave, tell_of_failure

    told = error.status if isinstance(error, FailedElsewhere) else tell_of_failure(1)
    if told is None:
        if LOST in str(error):
            _say_error("another process of this run is gone without a word; go on with resume=FOLDER of this run.")
        else:
            traceback.print_exception(error)
    leave(1 if told is None else told)


def _name_of(started: Launch) -> str:
    return f"process {started.rank} of {started.world}, on {socket.gethostname()}"


def _say_error(message: str) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)


def _config(name: str, composed: DictConfig, missing: dict[str, str]) -> RunConfig | VisualizeConfig:
    """The typed config, checked; on resume without other options, the one the run was started with."""
    resume_alone = all(option.startswith("resume=") for option in HydraConfig.get().overrides.task)
    given = None if _resumed(composed) is not None and resume_alone else typed(composed, missing)

    _import_what_computes()
    silence()  # now: Lightning sets its own levels when it is imported
    from nas.cli.checks import check
    from nas.distributed.rendezvous import connect
    from nas.runs.folder import restored

    connect()
    config = given or restored(name, composed.resume)
    if isinstance(config, RunConfig):
        check(config)
    return config


def _resumed(composed: DictConfig) -> str | None:
    """The folder that is given to go on in; None for a command that does not train, too."""
    return composed.resume if "resume" in composed else None


def typed(composed: DictConfig, missing: dict[str, str]) -> RunConfig | VisualizeConfig:
    """The config of the options that were given; UserError for one that there is not.

    Args:
        composed: as Hydra composes it.
        missing: see `command`.
    """
    for key, advice in missing.items():
        if OmegaConf.is_missing(composed, key):
            resume = _resumed(composed)
            alone = "" if resume is None else f"resume={resume} goes alone, or with all options of its run: "
            raise UserError(alone + advice)
    config = cast(RunConfig | VisualizeConfig, OmegaConf.to_object(composed))
    given = cast(dict[str, Any], OmegaConf.to_container(composed))
    if unknown := flat(given).keys() - flat(asdict(config)).keys():  # Hydra lets them in behind a "+"
        raise UserError(f"{', '.join(sorted(unknown))} is not an option; --help lists what there is.")
    return config
