"""Errors that users can cause, and warnings: shown as a sentence, not as a traceback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError
from rich.console import Console
from rich.markup import escape


class UserError(Exception):
    """An option or a file of the user cannot work. The message says what was given and what to give instead."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a ValueError of the block into a UserError: library functions raise it for a wrong argument."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error


def warn(message: str) -> None:
    """Print a warning on one line of standard error."""
    Console(stderr=True).print(f"[bold yellow]warning:[/] {escape(message)}", soft_wrap=True, highlight=False)


def explain(error: Exception, choices: Callable[[str], str]) -> str:
    """Return the message for an error of Hydra or OmegaConf, in the form of a `UserError`.

    Args:
        error: the error.
        choices: function that lists the choices of a group, for errors that do not list them.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, given = error.missing_cfg_file.rpartition("/")
        if group:
            known = [option for option in error.options or () if not option.endswith("schema")]
            return f"{group}={given} is unknown; choose one of: {', '.join(known) or choices(group)}."
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read; give name=value, in quotes if the value has brackets or spaces."
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and is_dataclass(cause.object_type):
        return _unknown_option(str(cause.full_key), [field.name for field in fields(cause.object_type)])
    option = getattr(cause, "full_key", None)
    if isinstance(cause, ValidationError) and "is not a ListConfig" in str(cause):
        return f"{option}={cause.value} is no list; give {option}=[{cause.value}]."
    lines = [line.strip() for line in str(cause).splitlines()]
    reason = " ".join(line for line in lines if line and "_type=" not in line and "full_key:" not in line)
    return f"{option}: {reason}." if option else reason


def _unknown_option(given: str, known: list[str]) -> str:
    """Return the message for an option that does not exist in its group."""
    group, dot, name = given.rpartition(".")
    near = get_close_matches(name, known, 1)
    meant = f"did you mean {group}{dot}{near[0]}? " if near else ""
    return f"{given} is not an option; {meant}{f'{group} has' if group else 'there are'}: {', '.join(known)}."


INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""
