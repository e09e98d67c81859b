"""Where a study is kept, so that its workers find each other: SQLite, a database server, or a journal file."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from nas.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

JOURNAL = "journal:"
DATABASE = "study.db"
PATIENCE = 60
"""Seconds to wait for another worker's write to SQLite."""
CONNECT = 10
"""Seconds to wait for a database server."""
ATTEMPTS = 5
"""To make the tables of a database."""
STALE_LOCK = 10
"""Seconds after which a journal's lock is taken for that of a killed worker; a write takes milliseconds."""


def open_storage(given: str | None, folder: Path) -> BaseStorage:
    """The storage of a study; UserError where it cannot be reached.

    Args:
        given: ``sweep.storage``.
        folder: of the sweep, for where nothing is given.
    """
    url = given or f"sqlite:///{folder.resolve() / DATABASE}"
    try:
        return _journal(url.removeprefix(JOURNAL)) if url.startswith(JOURNAL) else _database(url)
    except ArgumentError as error:
        raise UserError(
            f"sweep.storage={_shown(url)} is not a storage; give a database URL such as "
            f"postgresql+psycopg://user@host/name or mysql+pymysql://user@host/name, or {JOURNAL}FILE."
        ) from error
    except ImportError as error:
        raise UserError(f"sweep.storage={_shown(url)} needs a driver: {_first(error)}; install it.") from error
    except (OSError, SQLAlchemyError, OptunaError) as error:
        raise UserError(f"sweep.storage={_shown(url)} cannot be reached: {_first(error)}") from error


@contextmanager
def while_reachable(given: str | None, folder: Path) -> Iterator[None]:
    """Turn the loss of the storage in the middle of a sweep into a UserError that says how to go on."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise UserError(
            f"sweep.storage={_shown(given or str(folder / DATABASE))} cannot be reached any more: {_first(error)}. "
            f"Nothing that has ended is lost; go on with resume={folder}."
        ) from error


def _journal(path: str) -> BaseStorage:
    """A file that workers append to, with a lock that works on NFS and that a kill leaves behind for seconds only.

    The path is absolute: the lock is a link to it, whose age could not be told otherwise.
    """
    file = Path(path).resolve()
    if not path or not file.parent.is_dir():
        raise UserError(f"sweep.storage={JOURNAL}{path} is in no folder that exists; make it first.")
    return JournalStorage(JournalFileBackend(str(file), JournalFileSymlinkLock(str(file), grace_period=STALE_LOCK)))


def _database(url: str) -> BaseStorage:
    parsed = make_url(url)
    backend, driver = parsed.get_backend_name(), parsed.get_driver_name()
    connect: dict[str, Any] = {}
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise UserError(f"sweep.storage={url} is in memory, where no other worker finds it; give a file.")
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
    """The storage of a database that is there, with its tables: made now unless they are.

    Where several workers begin at once, all but one fail to make them, and find them later.
    """
    for _ in range(ATTEMPTS):
        with suppress(SQLAlchemyError, OptunaError):
            return RDBStorage(url, engine_kwargs=options)
        time.sleep(random.uniform(0.5, 1.5))
    return RDBStorage(url, engine_kwargs=options)


def _lock_from_the_start(storage: RDBStorage) -> None:
    """Have every transaction take SQLite's write lock as it begins.

    SQLite knows no SELECT ... FOR UPDATE, and Python's driver begins a transaction no earlier than the first write: two
    workers that look at a waiting trial at once would both run it (SQLAlchemy documents this remedy).
    """

    @event.listens_for(storage.engine, "connect")
    def no_begin_of_the_driver(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: "Connection") -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections from before have not heard of it


def _shown(url: str) -> str:
    """The URL without its password."""
    with suppress(ArgumentError):
        return make_url(url).render_as_string()
    return url


def _first(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)
