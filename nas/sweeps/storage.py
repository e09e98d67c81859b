"""The storage of a study, which its workers share: SQLite, a database server, or a journal file."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from nas.errors import UserError
from nas.runs.secrets import masked

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

JOURNAL = "journal:"
DATABASE = "study.db"
PATIENCE = 60
"""Seconds to wait while another worker writes to SQLite."""
CONNECT = 10
"""Seconds to wait for a connection to a database server."""
ATTEMPTS = 5
"""Number of attempts to create the tables of a database."""
MAX_PORT = 65535
STALE_LOCK = 10
"""Age in seconds at which the lock of a journal counts as left by a killed worker; a write takes milliseconds."""


def open_storage(given: str | None, folder: Path) -> BaseStorage:
    """Return the storage of a study; UserError if it cannot be reached.

    Args:
        given: the value of ``sweep.storage``; None for a SQLite file in ``folder``.
        folder: run folder of the sweep.
    """
    url = given or sqlite_url(folder / DATABASE)
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    if "@" in password and not user.startswith("/"):
        raise UserError(f"sweep.storage={masked(url)} has an @ in its password; write it as %40.")
    try:
        return _journal(url.removeprefix(JOURNAL)) if url.startswith(JOURNAL) else _database(url)
    except (ArgumentError, ValueError) as error:  # a ValueError: the port is no number
        raise UserError(
            f"sweep.storage={masked(url)} is not a storage; give a database URL such as "
            f"postgresql+psycopg://user@host/name or mysql+pymysql://user@host/name, or {JOURNAL}FILE."
        ) from error
    except ImportError as error:
        raise UserError(f"sweep.storage={masked(url)} needs a driver: {_first_line(error)}; install it.") from error
    except (OSError, OverflowError, SQLAlchemyError, OptunaError) as error:
        reason = _first_line(error).replace(unquote(password) or "***", "***")
        raise UserError(f"sweep.storage={masked(url)} cannot be reached: {reason}") from error


def open_to_read(folder: Path) -> BaseStorage:
    """Return the storage in a run folder, read-only; UserError if it is missing, damaged or of another program."""
    path = folder / DATABASE
    if not path.is_file():
        raise UserError(f"{path} is missing, so the trials of this sweep cannot be read; restore the file.")
    with readable(None, folder):
        return RDBStorage(sqlite_url(path, read_only=True))


def sqlite_url(path: Path, read_only: bool = False) -> str:
    """Return the URL of a SQLite file.

    The path is quoted for SQLite, since ? and # have a meaning there, and again for SQLAlchemy.

    Raises:
        UserError: the file is a link, so that it may be the database of another program.
    """
    if path.is_symlink():
        raise UserError(f"{path} is a link; put the study itself in its place.")
    mode = "mode=ro&" if read_only else ""
    return f"sqlite:///file:{quote(quote(str(path.resolve())))}?{mode}uri=true"


@contextmanager
def readable(given: str | None, folder: Path) -> Iterator[None]:
    """Convert an error of reading trials into a UserError that names their storage.

    Values that are missing or of a wrong type raise as many errors as Optuna and a summary of trials have uses of them.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, SQLAlchemyError, OptunaError) as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise UserError(
            f"{masked(given or str(folder / DATABASE))} is damaged, or has no study of this sweep ({reason}); restore "
            "it from a copy, or start a new sweep."
        ) from error


@contextmanager
def while_reachable(given: str | None, folder: Path) -> Iterator[None]:
    """Convert a lost connection to the storage during a sweep into a UserError that says how to continue."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise UserError(
            f"sweep.storage={masked(given or str(folder / DATABASE))} cannot be reached any more: "
            f"{_first_line(error)}. Finished trials are kept; continue with resume={folder}."
        ) from error


def _journal(path: str) -> BaseStorage:
    """Return a storage in a file that workers append to, with a lock that works on NFS.

    A lock that a killed worker left is removed after `STALE_LOCK` seconds. The path is absolute, because the lock is a
    link to it and the age of a link to a relative path cannot be read.
    """
    file = Path(path).resolve()
    if not path or not file.parent.is_dir():
        raise UserError(f"sweep.storage={JOURNAL}{path} is not in an existing folder; create the folder first.")
    lock = JournalFileSymlinkLock(str(file), grace_period=STALE_LOCK)
    _check_journal(file, lock)
    with readable(f"{JOURNAL}{file}", file.parent):
        return JournalStorage(JournalFileBackend(str(file), lock))


def _check_journal(file: Path, lock: JournalFileSymlinkLock) -> None:
    """Raise a UserError that names the first line of a journal that is no JSON object, such as an incomplete one.

    The lock is held meanwhile, so that no worker is writing a line.
    """
    if not file.exists():
        return
    with get_lock_file(lock), file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                whole = line.endswith(b"\n") and isinstance(json.loads(line), dict)
            except ValueError:
                whole = False
            if not whole:
                raise UserError(
                    f"sweep.storage={JOURNAL}{file} is not a journal, or line {number} of it is damaged; restore it "
                    "from a copy, delete the line if it is the last one, or give another storage."
                )


def _database(url: str) -> BaseStorage:
    """Return a storage in a database, after a test connection."""
    parsed = make_url(url)
    if parsed.port is not None and parsed.port > MAX_PORT:
        raise ValueError(parsed.port)
    backend, driver = parsed.get_backend_name(), parsed.get_driver_name()
    connect: dict[str, Any] = {}
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise UserError(f"sweep.storage={url} is in memory, which other workers cannot read; give a file.")
        connect["timeout"] = PATIENCE
    elif driver in ("psycopg", "psycopg2", "pymysql", "mysqldb"):
        connect["connect_timeout"] = CONNECT
    options: dict[str, Any] = {"connect_args": connect, "pool_pre_ping": True}  # a server closes idle connections
    create_engine(parsed, **options).connect().close()
    storage = _with_tables(url, options)
    if backend == "sqlite":
        _lock_from_the_start(storage)
    return get_storage(storage)


def _with_tables(url: str, options: dict[str, Any]) -> RDBStorage:
    """Return the storage in an existing database, and create its tables if they are missing.

    If several workers start at the same time, only one of them can create the tables. The others retry.
    """
    for _ in range(ATTEMPTS):
        with suppress(SQLAlchemyError, OptunaError):
            return RDBStorage(url, engine_kwargs=options)
        time.sleep(random.uniform(0.5, 1.5))
    return RDBStorage(url, engine_kwargs=options)


def _lock_from_the_start(storage: RDBStorage) -> None:
    """Make every transaction take SQLite's write lock when it begins, as SQLAlchemy documents it.

    SQLite has no SELECT ... FOR UPDATE, and Python's driver begins a transaction only with the first write. Without the
    lock, two workers that read a waiting trial at the same time would both run it.
    """

    @event.listens_for(storage.engine, "connect")
    def disable_begin_of_driver(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: "Connection") -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections opened before lack these listeners


def _first_line(error: BaseException) -> str:
    """Return the first line of the error at the start of the chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)
