"""Move the files of one run folder into another, with their checksums."""

import os
import shutil
from pathlib import Path

from nas.files import checksums
from nas.files.saving import PART, subfolder
from nas.runs.folder import CHECKPOINTS


def move_into(folder: Path, other: Path) -> None:
    """Move all files of the run folder ``other`` into ``folder``, checkpoints last, and delete ``other``.

    A move that was killed can be repeated: it moves what is left.
    """
    files = [path for path in sorted(other.rglob("*")) if path.is_file() and path.name != checksums.CHECKSUMS]
    for path in sorted(files, key=lambda path: path.relative_to(other).parts[0] == CHECKPOINTS):
        if path.suffix == PART:
            continue
        place = folder / path.relative_to(other)
        into = folder
        for name in path.relative_to(other).parts[:-1]:
            into = subfolder(into, name)
        if checksums.is_recorded(other, path):
            with checksums.recording(folder, place) as temporary:
                os.replace(path, temporary)
        else:
            os.replace(path, place)
    shutil.rmtree(other, ignore_errors=True)
