"""The frame of every command: compose the config, show errors as sentences, exit with the right status.

`nas.cli.start` imports this module, once Ctrl-C ends the command in one line.
"""

import functools
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

from nas.cli import help, overrides
from nas.cli.completion import answer, requested
from nas.cli.deferring import quick_imports
from nas.cli.groups import check_groups
from nas.cli.start import Advice, interruptible
from nas.config import CONF, SCHEMAS, CommandConfig, PrepareConfig, RunConfig, choices, flat
from nas.console import console_of_command
from nas.distributed.launch import Launch, launched
from nas.errors import INTERRUPTED, UserError, explain
from nas.files.saving import REFUSED
from nas.plugins.hydra_sources import given as given_plugins
from nas.plugins.hydra_sources import register
from nas.plugins.loading import load
from nas.plugins.record import use
from nas.pretrained.options import fill
from nas.runs.paths import absolute, expand_paths


def run(name: str, job: str, missing: Advice) -> None:
    """Run ``python -m nas.<name>``; see `nas.cli.start.command`."""

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)
    def compose_and_do(composed: DictConfig) -> None:
        with _sentences(name):
            config = _config(name, composed, missing)
            work = _function(job)
            interruptible()
            status = work(config, console_of_command())
        if status:
            _rendezvous().leave_together(status)

    if not launched().first:
        logging.disable()  # Hydra's messages of a multirun
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors, and does not print them
    with _sentences(name):
        register()
        OmegaConf.register_new_resolver("absolute", lambda path: absolute("output", path), replace=True)
        arguments = sys.argv[1:]
        if (request := requested(arguments)) is not None:
            print(answer(request, name, missing, compose_and_do))
            return
        load(given_plugins(arguments))
        check_groups(name, arguments, missing)
        if help.wanted(arguments):
            print(help.text(name, arguments))
        else:
            compose_and_do()


@functools.cache
def _function(job: str) -> Callable[..., Any]:
    """Return the function of "module:function"; its import also imports torch and Lightning.

    The import takes seconds, which help and most errors do not need.
    """
    if launched().world > 1:  # DDP warns of its search for unused parameters after routing has begun
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with quick_imports():
        module, _, name = job.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _rendezvous() -> ModuleType:
    """Import and return the module by which the processes of a run end together; it imports torch."""
    return import_module("nas.distributed.rendezvous")


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Print errors that a user can fix as a sentence and exit; any other error is a bug and shows its traceback."""
    resumes = issubclass(SCHEMAS[f"{name}_schema"], RunConfig)
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(explain(error, choices))
    except KeyboardInterrupt:
        again = "resume=FOLDER continues a run that had begun" if resumes else "the same command starts again"
        _fail(f"stopped; {again}.", INTERRUPTED)
    except BrokenPipeError:
        Console().on_broken_pipe()
    except Exception as error:
        if not isinstance(error, OSError) or error.errno not in REFUSED:
            _fail_over(error)
            raise
        where = f" {error.filename}" if error.filename else ""
        again = "give the same command again"
        if resumes:
            again = "continue with resume=FOLDER of this run, or give another folder with output=FOLDER"
        _fail(
            f"cannot write{where}: {error.strerror}. Files that were complete are kept; free disk space or change "
            f"permissions and {again}."
        )


def _fail(message: str, status: int = 1) -> NoReturn:
    """Print an error and exit; of several processes one prints it, and all exit with the same status."""
    started = launched()
    if started.world == 1:
        _say_error(message)
        sys.exit(status)
    if (
        "nas.distributed.rendezvous" not in sys.modules
    ):  # an error in the command line, which is the same in all processes
        if started.first:
            _say_error(message)
        sys.exit(status)
    reported = _rendezvous().report_failure(status)
    if reported is None:
        _say_error(message if started.first else f"{_name_of(started)}: {message}")
    leave: Callable[[int], NoReturn] = _rendezvous().leave
    leave(status if reported is None else reported)


def _fail_over(error: Exception) -> None:
    """End this process after a bug or the end of another process; of several processes one shows its traceback."""
    if launched().world == 1:
        return
    rendezvous = _rendezvous()
    reported = error.status if isinstance(error, rendezvous.FailedElsewhere) else rendezvous.report_failure(1)
    if reported is None:
        if rendezvous.is_lost(error):
            _say_error(rendezvous.lost_message())
        else:
            traceback.print_exception(error)
    rendezvous.leave(1 if reported is None else reported)


def _name_of(started: Launch) -> str:
    return f"process {started.rank} of {started.world}, on {socket.gethostname()}"


def _say_error(message: str) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)


def _config(name: str, composed: DictConfig, missing: Advice) -> CommandConfig:
    """Return the typed and checked config: of the options or, with ``resume``, of the resumed run with its changes."""
    plugins = load(composed.get("plugins") or [])
    if (resume := _resumed(composed)) is not None:
        changes = overrides.beside_resume(composed)
        return cast(RunConfig, _function("nas.cli.checked:checked_again")(name, resume, plugins, changes))
    given = typed(composed, missing)
    if not isinstance(given, PrepareConfig):
        given.plugins = plugins
    return cast("CommandConfig", _function("nas.cli.checked:checked")(given))


def _resumed(composed: DictConfig) -> str | None:
    """Return the path in ``resume``; None if it is not given, or if the command has no such option."""
    given = composed.resume if "resume" in composed else None
    return None if given is None else absolute("resume", given)


def typed(composed: DictConfig, missing: Advice) -> CommandConfig:
    """Return the typed config of the given options.

    Args:
        composed: config as composed by Hydra.
        missing: see `nas.cli.start.command`.

    Raises:
        UserError: an option is missing, does not exist, or has a wrong value.
    """
    for key, advice in missing.items():
        if all(OmegaConf.is_missing(composed, one) or composed[one] is None for one in key.split(",")):
            text = advice if isinstance(advice, str) else advice()
            raise UserError(str(OmegaConf.create({"advice": text}).advice))
    if "model" in composed:
        fill(composed.model)
    try:
        config = cast(CommandConfig, OmegaConf.to_object(composed))
    except OmegaConfBaseException:
        raise
    except ValueError as error:  # from the options of a plugin that check themselves
        raise UserError(str(error)) from error
    expand_paths(config)
    use(asdict(config))
    given = cast(dict[str, Any], OmegaConf.to_container(composed))
    if unknown := flat(given).keys() - flat(asdict(config)).keys():  # Hydra accepts them after a "+"
        raise UserError(f"{', '.join(sorted(unknown))} is not an option; --help lists the options.")
    return config
