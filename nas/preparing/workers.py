"""The processes that encode units: several workers, or this process for a single one."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.jobs.pool import Pool, Worker, start_pool
from nas.preparing.pieces import Piece
from nas.preparing.tokenizer import threads, train
from nas.preparing.unit import Finished, Settings, encode_unit

SHARED = ("nas.preparing.workers", "tokenizers")
"""Modules that workers share in memory."""
INTERVAL = 0.25
"""Seconds between two reports of the bytes of a unit."""


class Stopped(Exception):
    """The user stopped the workers."""


@dataclass(frozen=True)
class Encoded:
    """Text of a unit has been encoded.

    Attributes:
        number: number of the unit.
        bytes: bytes of the text since the last report.
    """

    number: int
    bytes: int


@dataclass(frozen=True)
class Failed:
    """A worker cannot do its work.

    Attributes:
        message: message for the user.
    """

    message: str


Show = Callable[[Encoded | Finished], None]
Units = Sequence[tuple[int, list[Piece]]]
"""Numbers and pieces of units."""


def encode(settings: Settings, units: Units, workers: int, show: Show) -> None:
    """Encode units.

    Args:
        settings: what is the same for all units.
        units: numbers and pieces of the units.
        workers: largest number of processes; one unit at a time is encoded in this process.
        show: called with what happens; the shards of a finished unit are on the disk by then.

    Raises:
        UserError: a document cannot be read, or a shard cannot be written.
        Stopped: the user stopped a worker.
        KeyboardInterrupt: the user stopped this process.
    """
    count = min(workers, len(units))
    if count > 1:
        with start_pool(count, _work, settings, shared=SHARED) as pool:
            _distribute(pool, list(units), show)
    elif units:
        vocabulary = settings.vocabulary()
        with threads(False):
            for number, pieces in units:
                with _guarded(settings):
                    finished = encode_unit(settings, vocabulary, number, pieces, _Report(show, number))
                show(finished)


def train_apart(settings: Settings, *arguments: Any) -> str:
    """Train a tokenizer in a process of its own, which frees its memory at its end; return its tokenizer.json.

    The process does not write the file itself: if this process is killed, the other one may outlive it.

    Args:
        settings: settings of the units.
        arguments: further arguments of `nas.preparing.tokenizer.train`.

    Raises:
        UserError: a document cannot be read.
        Stopped: the user stopped the process.
    """
    content: str | None = None
    with start_pool(1, _train, settings, *arguments, shared=SHARED) as pool:
        while pool.alive:
            for worker, message in pool.messages():
                content = _checked(worker, message) or content
    if content is None:
        raise Stopped
    return content


def _distribute(pool: Pool, left: list[tuple[int, list[Piece]]], show: Show) -> None:
    """Give each worker a unit at a time until all are finished."""
    given: dict[Worker, int] = {}
    while left or given:
        for worker in pool.alive:
            if worker not in given and left:
                unit = left.pop(0)
                given[worker] = unit[0]
                with suppress(BrokenPipeError):  # the worker has just died; its line reports the end next
                    worker.line.send(unit)
        received = list(pool.messages())
        for worker, event in received:  # what is finished is recorded before a failure is raised
            if isinstance(event, Encoded | Finished):
                show(event)
            if isinstance(event, Finished):
                del given[worker]
        if any(_checked(worker, event) is None for worker, event in received):
            raise Stopped


def _checked(worker: Worker, message: Any) -> Any:
    """Return a message of a worker; raise UserError if the worker failed."""
    if isinstance(message, Failed):
        raise UserError(message.message)
    if message is None and worker.failure is not None:
        raise UserError(
            f"A worker {worker.failure}; if memory was short, give fewer workers. The same command continues."
        )
    return message


def _work(line: Connection, settings: Settings) -> None:
    """Encode the units that the command sends, until it closes the line."""
    vocabulary = settings.vocabulary()
    with threads(False):
        while True:
            try:
                number, pieces = line.recv()
            except EOFError:
                return
            try:
                with _guarded(settings):
                    finished = encode_unit(settings, vocabulary, number, pieces, _Report(line.send, number))
            except UserError as error:
                line.send(Failed(str(error)))
                return
            line.send(finished)


class _Report:
    """Sums the bytes of a unit, and sends them every `INTERVAL`."""

    def __init__(self, send: Callable[[Encoded], None], number: int) -> None:
        self._send, self._number = send, number
        self._bytes, self._sent = 0, time.monotonic()

    def __call__(self, size: int) -> None:
        self._bytes += size
        if time.monotonic() - self._sent >= INTERVAL:
            self._send(Encoded(self._number, self._bytes))
            self._bytes, self._sent = 0, time.monotonic()


def _train(line: Connection, settings: Settings, *arguments: Any) -> None:
    try:
        with _guarded(settings):
            content = train(settings, *arguments)
    except UserError as error:
        line.send(Failed(str(error)))
    else:
        line.send(content)


@contextmanager
def _guarded(settings: Settings) -> Iterator[None]:
    """Turn an error of a file in the block into a UserError."""
    try:
        yield
    except ConnectionError:  # the command is gone
        raise
    except OSError as error:
        raise cannot(settings.folder, error) from error


def cannot(folder: str, error: OSError) -> UserError:
    """Return the error for the user when a file of the folder of tokens cannot be written, or of the input read."""
    name = str(error.filename or folder)
    if Path(folder) in (Path(name), *Path(name).parents):
        return UserError(
            f"output={folder} cannot be written: {error.strerror or error}. Finished shards are kept and can be used; "
            "free disk space or change permissions, then give the same command to continue."
        )
    return UserError(
        f"input has the file {name}, which cannot be read: {error.strerror or error}; repair or exclude it, then begin "
        "in a new folder."
    )
