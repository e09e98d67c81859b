"""Paths that users give: absolute, and without parts that some libraries read as something else.

Python takes ``~``, ``$VAR`` and ``::`` in a path as they are. Lightning and TensorBoard expand ``~`` and variables, and
fsspec reads ``a::b`` as one file system inside another.
"""

import os

from nas.config import CompareConfig, PrepareConfig, RunConfig, VisualizeConfig
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


def expand_paths(config: RunConfig | VisualizeConfig | PrepareConfig) -> None:
    """Make the folders of runs in a config absolute; expand the paths of a page, which only Python writes."""
    if isinstance(config, PrepareConfig):
        config.input, config.output = _expanded(config.input), _expanded(config.output)
        return
    if isinstance(config, VisualizeConfig):
        for option in ("run", "compare", "output"):
            if (given := getattr(config, option)) is not None:
                setattr(config, option, _expanded(given))
        return
    if config.output.strip():
        config.output = absolute("output", config.output)
    if isinstance(config, CompareConfig):
        config.runs = [absolute("runs", run) for run in config.runs]


def _expanded(given: str) -> str:
    return os.path.expanduser(os.path.expandvars(given))
