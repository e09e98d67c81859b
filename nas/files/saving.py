"""Write files completely or not at all, and never through a link that somebody has placed in a folder."""

import errno
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import UserError

PART = ".part"
"""Ending of temporary files and folders, whose names begin with a dot."""
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG)
"""Errors of a disk that takes no more files, or none of this user."""


class CannotWrite(UserError):
    """A run folder takes no more files. No option of the run is the cause, so that another run there fails as well."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new, empty file in the folder of ``path``; rename it to ``path`` if the block raises no error.

    The content is on the disk before the rename, so that a power failure leaves the old or the new file.

    Raises:
        OSError: the file cannot be written. ``filename`` is the folder, not the temporary file.
    """
    temporary = temporary_name(path)
    with naming(path.parent):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))
        try:
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        flush(path.parent)


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Let an OSError of the block name a folder, in place of no file or of a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or PART in str(error.filename):
            raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
        raise


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Turn an OSError of a run into a `CannotWrite` if its folder is full, read-only or gone.

    The thread that writes the events of TensorBoard prints no traceback of such an error, which it raises again in this
    thread when the next event is written.
    """
    before = threading.excepthook
    threading.excepthook = _print_unless_raised_again
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_dir():
            raise CannotWrite(
                f"{folder} was deleted or moved while its run went on, so nothing more can be saved. If it was moved, "
                "continue with resume= and its new path."
            ) from error
        if error.errno not in REFUSED:
            raise
        raise CannotWrite(
            f"cannot write to {folder}: {error.strerror}. Files that were complete are kept; free disk space or change "
            f"permissions, then continue with resume={folder}."
        ) from error
    finally:
        threading.excepthook = before


def _print_unless_raised_again(args: threading.ExceptHookArgs) -> None:
    """Print the traceback of a thread, unless the disk refused a file or the file is gone."""
    if not isinstance(args.exc_value, OSError) or args.exc_value.errno not in (*REFUSED, errno.ENOENT):
        threading.__excepthook__(args)


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
