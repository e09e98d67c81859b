"""What is kept of a job that failed by an error of the program."""

import traceback
from pathlib import Path

ERRORS = "errors"
"""Folder of the tracebacks, below that of all jobs."""


def keep_traceback(error: Exception, folder: Path, name: str) -> str:
    """Write the traceback of the error that is being handled; returns what to tell of it.

    Args:
        error: which it is.
        folder: of all jobs.
        name: of this one.
    """
    place = folder / ERRORS / f"{name}.txt"
    place.parent.mkdir(exist_ok=True)
    place.write_text(traceback.format_exc())
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first} (see {place})"
