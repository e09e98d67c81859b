"""Run folders below a folder, and their files: read as data, without following a link out of the folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from nas.runs.folder import CHECKPOINTS, CONFIG, METRICS, TENSORBOARD

INNER = {CHECKPOINTS, TENSORBOARD, "csv", "wandb", "mlflow", "figures", "contenders"}
"""Folders in a run folder that contain no runs."""
MOST_BYTES = 256 * 2**20
"""Largest size of a file that is read."""


def run_folders(root: Path) -> Iterator[Path]:
    """Yield the run folders below a folder by path, the run folders inside sweeps and comparisons after these."""
    for place, folders, files in os.walk(root):
        if CONFIG in files or METRICS in files or CHECKPOINTS in folders:
            yield Path(place)
            folders[:] = [name for name in folders if name not in INNER]
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def read(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: the file is missing, a link, no regular file, or larger than `MOST_BYTES`.
        OSError: the file cannot be read.
    """
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    if not path.exists():
        raise ValueError(f"{path.name} is missing")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"{path.name} is larger than {MOST_BYTES // 2**20} MiB")
        return file.read()


def own(path: Path) -> bool:
    """Return whether a path is a regular file, not a link to one."""
    return path.is_file() and not path.is_symlink()


def fingerprint(folder: Path) -> str:
    """Return the names, sizes and times of the files of a run folder and of its event files, as text.

    A folder that cannot be listed has the reason in place of its files.
    """
    try:
        return "\n".join(_files(folder))
    except OSError as error:
        return str(error)


def _files(folder: Path) -> Iterator[str]:
    for place in (folder, folder / TENSORBOARD):
        if place.is_dir() and not place.is_symlink():
            for file in sorted(os.scandir(place), key=lambda file: file.name):
                status = file.stat(follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode) and not file.name.startswith("."):
                    yield f"{file.name} {status.st_mode} {status.st_size} {status.st_mtime_ns}"
