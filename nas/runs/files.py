"""Write files completely or not at all, and never through a link that somebody has placed in a folder."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import UserError

PART = ".part"
"""Ending of temporary files and folders, whose names begin with a dot."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new, empty file in the folder of ``path``; rename it to ``path`` if the block raises no error.

    The content is on the disk before the rename, so that a power failure leaves the old or the new file.
    """
    temporary = temporary_name(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def temporary_name(path: Path) -> Path:
    """Return a hidden path beside ``path`` that nobody can guess."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")


def clear_parts(folder: Path) -> None:
    """Remove temporary files that a killed process has left in a folder or directly below it."""
    for part in (*folder.glob(f".*{PART}"), *folder.glob(f"*/.*{PART}")):
        if part.is_symlink() or part.is_file():
            part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until the content of a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def subfolder(folder: Path, name: str) -> Path:
    """Return a folder inside a folder, made if it is missing; raise a UserError if it is a link to another place."""
    path = folder / name
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        raise UserError(
            f"{path} is a link, so files would be written to another folder, {path.resolve()}; remove the link."
        )
    return path
