"""The lock of a run folder: one process at a time writes to it.

The operating system holds the lock and frees it when the process ends, however it ends. Where a file system has no
locks, as some network file systems, a process holds it that the file names and that still runs on this machine.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.errors import UserError
from nas.files.saving import clear_parts

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder in the block; of several processes of a run the first holds it.

    Raises:
        UserError: another process writes to the folder. The message names its host, its process id and its age.
    """
    held: list[int] = []

    def hold() -> None:
        held.append(_acquire(folder))

    from_first(hold)
    if launched().first:
        clear_parts(folder)
    try:
        yield
    finally:
        if launched().first:
            with suppress(FileNotFoundError):
                (folder / LOCK).unlink()
            for descriptor in held:
                os.close(descriptor)


def _acquire(folder: Path) -> int:
    """Return the descriptor of the locked file."""
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            content = os.pread(descriptor, 1000, 0)
            if not isinstance(error, BlockingIOError) and not _runs_here(content):
                break  # the file system has no locks
            os.close(descriptor)
            raise UserError(
                f"{folder} is in use by {_described(content)}; wait until that has ended, or stop it."
            ) from None
        if path.exists() and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            break
        os.close(descriptor)  # the process before has removed this file
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    return descriptor


def _runs_here(owner: bytes) -> bool:
    """Return whether the process in the content of the file is another one on this machine that still runs."""
    try:
        given = json.loads(owner)
        if given["host"] != socket.gethostname() or given["pid"] == os.getpid():
            return False
        os.kill(int(given["pid"]), 0)
    except (ValueError, KeyError, TypeError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:  # it runs, but is of another user
        return True
    return True


def _described(owner: bytes) -> str:
    """Return the text for the process that holds a lock, from the content of the file."""
    try:
        given = json.loads(owner)
        minutes = max(0.0, time.time() - float(given["since"])) / 60
        return f"process {int(given['pid'])} on {str(given['host'])[:80]!r} for {minutes:.0f} min"
    except (ValueError, KeyError, TypeError):  # it is about to write
        return "another process"


def in_use(folder: Path) -> bool:
    """Return whether a process holds the lock of a run folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no locks
        return False
    finally:
        os.close(descriptor)
    return False
