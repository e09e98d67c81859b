"""Paths that users give: absolute, and without parts that some libraries read as something else.

Python takes ``~``, ``$VAR`` and ``::`` in a path as they are. Lightning and TensorBoard expand ``~`` and variables, and
fsspec reads ``a::b`` as one file system inside another.
"""

import os

from nas.config import CommandConfig, CompareConfig, EvaluateConfig, RunConfig
from nas.errors import UserError

SPECIAL = ("$", "::", "://")
"""Parts of a path that libraries do not read as part of a name."""


def absolute(option: str, given: str) -> str:
    """Return the absolute path of an option, with ``~`` and ``$VAR`` expanded.

    Raises:
        UserError: the path still has one of `SPECIAL`.
    """
    path = os.path.abspath(_expanded(given))
    if found := next((part for part in SPECIAL if part in _expanded(given) or part in path), None):
        raise UserError(
            f"{option}={given} has {found}, which libraries do not read as part of a name; give a path without it."
        )
    return path


def expand_paths(config: CommandConfig) -> None:
    """Make the folders of runs in a config absolute; expand other paths, which only Python reads and writes."""
    if not isinstance(config, RunConfig):
        for option in ("run", "compare", "prompts", "input", "output"):
            if (given := getattr(config, option, None)) is not None:
                setattr(config, option, _expanded(given))
        if isinstance(config, EvaluateConfig):
            config.beside = [_expanded(run) for run in config.beside]
        return
    if config.output.strip():
        config.output = absolute("output", config.output)
    if isinstance(config, CompareConfig):
        config.runs = [absolute("runs", run) for run in config.runs]


def _expanded(given: str) -> str:
    return os.path.expanduser(os.path.expandvars(given))
