"""Where the processes of a run agree: one makes the run folder, one measures and writes, one says what went wrong.

They meet at the key-value store that torch.distributed finds its peers with, before there is a process group and beside
it: it needs no GPU, and nobody has to arrive in time. On one's own every function here is what it does for the first.
"""

import functools
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn, ParamSpec, TypeVar, cast

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # documented, but not in __all__
from torch.distributed.rendezvous import rendezvous

from nas.distributed.launch import launched
from nas.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

TO_CONNECT = timedelta(minutes=5)
"""How long processes may start one after another."""
TO_LEAVE = 5.0
"""Seconds that the first process waits at its end, for the others to have heard what it said."""
PATIENCE = 2.0
"""Seconds in which a failure that all processes share is left to the first of them to tell."""
FAILED, HEARD = "failed", "heard"
AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Variable in which torchrun tells that it keeps the store; otherwise the first process does."""

_numbers = itertools.count()


class FailedElsewhere(Exception):
    """Another process has failed, and has said why. status: the exit status of all."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def connect() -> None:
    """Reach the other processes; UserError where they are not to be reached."""
    if launched().world == 1:
        return
    try:
        _store()
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"the processes of this run cannot reach each other at {where} ({str(error).splitlines()[0]}); see that "
            "their machines can talk to each other there, or set MASTER_ADDR and MASTER_PORT."
        ) from error


@functools.cache
def _store() -> Store:
    started = launched()
    if started.by == "srun":
        environment = SLURMEnvironment(auto_requeue=False)
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
    store, _, _ = next(rendezvous("env://", started.rank, started.world, timeout=TO_CONNECT))
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    ours = PrefixStore(f"nas {attempt}", store)
    if attempt and os.environ.get(AGENT_STORE) == "True":
        _renew(ours, started.first)
    return ours


def _renew(store: Store, first: bool) -> None:
    """Have a process group meet elsewhere: torchrun starts processes again with the store of those before.

    What they left there would be taken for new, and the group would wait for them (pytorch#135712; so still in 2.13).
    """
    if first:
        with socket.socket() as free:
            free.bind(("", 0))
            store.set("port", str(free.getsockname()[1]))
    os.environ["MASTER_PORT"] = store.get("port").decode()
    os.environ[AGENT_STORE] = "False"


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` gives in the first process, in every process: plain values as JSON has them.

    Raises:
        FailedElsewhere: the first process, or any other, has failed.
    """
    started = launched()
    if started.world == 1:
        return make()
    key = f"value {next(_numbers)}"
    if started.first:
        value = make()
        _store().set(key, json.dumps(value))
        _wait(lambda: _store().add(f"{key} read", 0) == started.world - 1, at_most=TO_LEAVE)
        return value
    _wait(lambda: _store().check([key]))
    value = cast(T, json.loads(_store().get(key)))
    _store().add(f"{key} read", 1)
    return value


def by_first(function: Callable[P, T]) -> Callable[P, T]:
    """A function that the first process runs, while the others wait for what it returns."""

    @functools.wraps(function)
    def shared(*args: P.args, **kwargs: P.kwargs) -> T:
        return from_first(lambda: function(*args, **kwargs))

    return shared


def together() -> None:
    """Wait until every process is here; FailedElsewhere if one of them does not come."""
    world = launched().world
    if world == 1:
        return
    key = f"here {next(_numbers)}"
    _store().add(key, 1)
    _wait(lambda: _store().add(key, 0) == world)


def _wait(condition: Callable[[], bool], at_most: float = float("inf")) -> None:
    """Look again and again until it is so; FailedElsewhere if a process fails meanwhile."""
    end = time.monotonic() + at_most
    pause = 0.001
    while not condition() and time.monotonic() < end:
        if (status := _failure()) is not None:
            raise FailedElsewhere(status)
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def _failure() -> int | None:
    """The exit status with which a process has failed, if one has."""
    store = _store()
    return int(store.get(FAILED).split()[1]) if store.check([FAILED]) else None


def tell_of_failure(status: int) -> int | None:
    """Whether this process, which is about to fail, is the one to say why.

    Returns:
        None if it is; otherwise the exit status of the process that does.
    """
    started = launched()
    if started.world == 1:
        return None
    if not _store.cache_info().currsize:  # it fails over its command line, as all of them do
        return None if started.first else status
    ours = f"{started.rank} {status}"
    try:
        end = time.monotonic() + PATIENCE
        while not started.first and _failure() is None and time.monotonic() < end:
            time.sleep(0.05)
        told = _store().compare_set(FAILED, "", ours).decode()
    except RuntimeError:  # the store went with the process that keeps it
        return status
    return None if told == ours else int(told.split()[1])


def leave(status: int) -> NoReturn:
    """End a process that failed, or heard of a failure, without waiting for what is under way with the others."""
    started = launched()
    if started.world == 1:
        sys.exit(status)
    with suppress(RuntimeError):  # the store is gone
        if _store.cache_info().currsize:
            _store().add(HEARD, 1)
            keeps_store = started.first and os.environ.get(AGENT_STORE) != "True"
            end = time.monotonic() + TO_LEAVE
            while keeps_store and _store().add(HEARD, 0) < started.world and time.monotonic() < end:
                time.sleep(0.05)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def leave_together(status: int) -> NoReturn:
    """End a run that was stopped, in every process with the same status."""
    if launched().world > 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # with which torchrun ends the others once one of them has ended
        together()
    leave(status)
