"""Tracebacks of jobs that failed by an error of the program."""

import traceback
from pathlib import Path

from nas.files.saving import replacing, subfolder

ERRORS = "errors"
"""Folder of the tracebacks, inside the folder of all jobs."""


def keep_traceback(error: Exception, folder: Path, name: str) -> str:
    """Write the traceback of the error that is being handled, and return one line about it with the path.

    Args:
        error: the error.
        folder: folder of all jobs.
        name: name of the job, for the file.
    """
    place = folder / ERRORS / f"{name}.txt"
    subfolder(place.parent.parent, place.parent.name)
    with replacing(place) as temporary:
        temporary.write_text(traceback.format_exc(), encoding="utf-8")
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first} (see {place})"
