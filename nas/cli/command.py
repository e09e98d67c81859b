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
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn, cast

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from nas.cli import overrides
from nas.cli.completion import answer, requested
from nas.config import CONF, RunConfig, VisualizeConfig, flat
from nas.distributed.launch import Launch, launched
from nas.errors import INTERRUPTED, UserError, explain
from nas.plugins.hydra_sources import given as given_plugins
from nas.plugins.hydra_sources import register
from nas.plugins.loading import load
from nas.plugins.record import use

LOST = " by peer"
"""Part of what torch.distributed says when a process that it talks to is gone: the connection was closed, or reset."""
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG)


def command(name: str, job: str, missing: dict[str, str]) -> Callable[[], None]:
    """Make the main function of ``python -m nas.<name>``.

    Args:
        name: name of the command and of its file in conf/.
        job: "module:function", imported once the options are understood, since torch takes seconds; the function gets
            the config and a console and returns the exit status.
        missing: for each option without a default, the message for a user who did not give it; ${choices:space} in it
            lists the files of a group.
    """

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    def compose_and_do(composed: DictConfig) -> None:
        with _sentences():
            config = _config(name, composed, missing)
            status = _function(job)(config, Console(quiet=not launched().first))
        if status:
            _rendezvous().leave_together(status)

    def main() -> None:
        if not launched().first:
            logging.disable()  # Hydra's, of a multirun
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra leaves its errors to us
        with _sentences():
            register()
            request = requested(sys.argv[1:])
            if request is None:
                load(given_plugins(sys.argv[1:]))
                compose_and_do()
            else:
                print(answer(request, name, missing, compose_and_do))

    return main


@functools.cache
def _function(job: str) -> Callable[..., Any]:
    """Import "module:function", and with it torch and Lightning.

    That takes seconds, which help and most refusals do without. The garbage collector would take a quarter of the time
    to look through new objects, nearly all of which stay, so these are exempt from it, in training as well.
    """
    if launched().world > 1:  # for DDP, which warns of looking for unused parameters once routing has begun
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    gc.disable()
    try:
        module, _, name = job.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # Triton's bindings complain of what is left at the end
    return function


def _rendezvous() -> ModuleType:
    """The module by which the processes of a run end together; it imports torch."""
    return import_module("nas.distributed.rendezvous")


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
    told = _rendezvous().tell_of_failure(status)
    if told is None:
        _say_error(message if started.first else f"{_name_of(started)}: {message}")
    leave: Callable[[int], NoReturn] = _rendezvous().leave
    leave(status if told is None else told)


def _fail_over(error: Exception) -> None:
    """After a bug, or what another process's end did to this one: of several processes one shows its traceback."""
    if launched().world == 1:
        return
    rendezvous = _rendezvous()
    told = error.status if isinstance(error, rendezvous.FailedElsewhere) else rendezvous.tell_of_failure(1)
    if told is None:
        if LOST in str(error):
            _say_error("another process of this run is gone without a word; go on with resume=FOLDER of this run.")
        else:
            traceback.print_exception(error)
    rendezvous.leave(1 if told is None else told)


def _name_of(started: Launch) -> str:
    return f"process {started.rank} of {started.world}, on {socket.gethostname()}"


def _say_error(message: str) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)


def _config(name: str, composed: DictConfig, missing: dict[str, str]) -> RunConfig | VisualizeConfig:
    """The typed config, checked; on resume without other options, the one the run was started with."""
    resume, plugins = _resumed(composed), load(composed.plugins)
    given = None if resume is not None and overrides.resume_alone() else typed(composed, missing)
    if given is not None:
        given.plugins = plugins
    return cast("RunConfig | VisualizeConfig", _function("nas.cli.checked:checked")(name, given, resume, plugins))


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
            raise UserError(alone + str(OmegaConf.create({"advice": advice}).advice))
    try:
        config = cast(RunConfig | VisualizeConfig, OmegaConf.to_object(composed))
    except OmegaConfBaseException:
        raise
    except ValueError as error:  # of a plugin's options that check themselves
        raise UserError(str(error)) from error
    use(asdict(config))
    given = cast(dict[str, Any], OmegaConf.to_container(composed))
    if unknown := flat(given).keys() - flat(asdict(config)).keys():  # Hydra lets them in behind a "+"
        raise UserError(f"{', '.join(sorted(unknown))} is not an option; --help lists what there is.")
    return config
