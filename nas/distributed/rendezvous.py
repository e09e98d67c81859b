"""Coordination of the processes of a run: the first makes the run folder, evaluates and writes; one reports an error.

The processes use the key-value store of torch.distributed, which exists before the process group and needs no GPU.
Processes may start in any order. With one process every function here acts as for the first process.
"""

import atexit
import functools
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn, ParamSpec, TypeVar, cast

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import (  # type: ignore[attr-defined]  # documented, but not in __all__
    DistNetworkError,
    DistStoreError,
    PrefixStore,
    Store,
    TCPStore,
)

from nas.distributed.heartbeat import Heartbeat
from nas.distributed.launch import launched
from nas.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = "NAS_PEER_TIMEOUT"
"""Variable with the number of seconds for which processes wait for one that does not start or does not respond."""
SECONDS = 60.0
"""Default of `TIMEOUT`."""
SILENCE = 0.75
"""Part of `TIMEOUT` after which a silent process counts as ended: all others end before it is over."""
TO_LEAVE = 5.0
"""Seconds for which the first process waits at its end until the others have read its values."""
PATIENCE = 2.0
"""Seconds for which the other processes leave it to the first to report an error that all of them have."""
FIRST_PORT = 15000
"""First of `PORTS` ports under SLURM, of which the ids of job and step select one, unless MASTER_PORT is set."""
PORTS = 10_000
STEP = 4099
"""Distance of the ports of two steps of one job, a prime: jobs of one machine often have ids in a row."""
FAILED, LEAVING = "failed", "leaving"
"""Keys of the store: rank and status of the process that reports the error, and the number of processes that end."""
AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Variable that is "True" if torchrun holds the store; otherwise the first process holds it."""

_numbers = itertools.count()
_processes_here: dict[int, int] = {}
"""Handles of the other processes on this machine by rank, see `os.pidfd_open`."""


class FailedElsewhere(Exception):
    """Another process has failed and reports the error. status: exit status of all processes."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


@functools.cache
def connect() -> None:
    """Connect to the other processes, once; raise a UserError if one of them cannot be reached in time."""
    started = launched()
    if started.world == 1:
        return
    try:
        store = _store()
    except (OSError, RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"process 0 of {started.world} cannot be reached at {where} within {_timeout():g} s "
            f"({str(error).splitlines()[0]}); start all {started.world} processes, make this address reachable from "
            f"all machines, set MASTER_ADDR and MASTER_PORT, or set {TIMEOUT} to more seconds."
        ) from error
    store.set(f"connected {started.rank}", f"{os.getpid()} {_machine()}")
    there = [f"connected {rank}" for rank in range(started.world)]
    _wait(lambda: store.check(there), at_most=_timeout())
    if missing := [rank for rank, key in enumerate(there) if not store.check([key])]:
        raise UserError(
            f"{_processes(missing)} did not connect within {_timeout():g} s; start all {started.world} processes with "
            f"the same options, or set {TIMEOUT} to more seconds."
        )
    for rank, key in enumerate(there):
        _note_process(rank, store.get(key).decode())
    _heartbeat().start()
    atexit.register(_heartbeat().stop)


def _timeout() -> float:
    """Return the seconds of `TIMEOUT`; raise a UserError if it is not a number of seconds."""
    given = os.environ.get(TIMEOUT) or str(SECONDS)
    with suppress(ValueError):
        if 0 < (seconds := float(given)) < float("inf"):
            return seconds
    raise UserError(f"{TIMEOUT}={given} is not allowed; give a number of seconds over 0.")


def _processes(ranks: Collection[int]) -> str:
    """Return the name of processes in messages: "process 1 of 2", "processes 1, 3 of 4"."""
    return f"process{'es' * (len(ranks) > 1)} {', '.join(map(str, ranks))} of {launched().world}"


@functools.cache
def _heartbeat() -> Heartbeat:
    started = launched()
    every = min(1.0, _timeout() / 10)
    silence = SILENCE * _timeout()
    return Heartbeat(
        _clone(), started.rank, started.world, silence, every, FAILED, _leave_without, _leave_without_store
    )


def _machine() -> str:
    """Return the name of this machine and of its numbers of processes, which containers may have of their own."""
    numbers = "/proc/self/ns/pid"
    return f"{socket.gethostname()} {os.readlink(numbers) if os.path.exists(numbers) else ''}"


def _note_process(rank: int, place: str) -> None:
    """Keep a handle of another process of this machine; its number could be that of a new process later."""
    number, _, machine = place.partition(" ")
    if machine == _machine() and rank != launched().rank and hasattr(os, "pidfd_open"):
        with suppress(OSError):
            _processes_here[rank] = os.pidfd_open(int(number))


def _end(ranks: Collection[int]) -> None:
    """End processes of this machine that do not respond: they would hold their GPU, and torchrun waits for them."""
    for rank in ranks:
        if rank in _processes_here:
            with suppress(OSError):
                signal.pidfd_send_signal(_processes_here[rank], signal.SIGKILL)


def _leave_without(ended: Collection[int]) -> None:
    """End this process after others have ended without a message, or after another has reported a failure.

    Args:
        ended: ranks of the processes that have ended, which one of the remaining processes names; empty if another
            process has reported a failure.
    """
    reported = ours = f"{launched().rank} 1"
    with suppress(RuntimeError):  # the store is gone
        reported = _clone().compare_set(FAILED, "", ours).decode()
    _end(ended)
    if ended and reported == ours:
        sys.stderr.write(f"error: {_ended_message(ended)}\n")
    leave(int(reported.split()[1]))


def _leave_without_store() -> None:
    """End this process after the process that holds the store has stopped to respond, without a call of the store."""
    _end([0])
    if launched().rank == 1:  # one of the others names it
        sys.stderr.write(f"error: {_ended_message([0])}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _ended_message(ended: Collection[int]) -> str:
    """Return the message for processes that have ended without one."""
    which = _processes(ended) if ended else "another process of this run"
    return f"{which} ended or does not respond; continue with resume=FOLDER of this run."


def is_lost(error: Exception) -> bool:
    """Return whether an error of torch.distributed means that another process has ended."""
    return isinstance(error, DistNetworkError | DistStoreError) or " by peer" in str(error)


def lost_message() -> str:
    """Return the message after an error of `is_lost`; it names the processes that have ended."""
    return _ended_message(_heartbeat().ended() if _store.cache_info().currsize else ())


@functools.cache
def _store() -> Store:
    started = launched()
    address, port = _address()
    if not _holds_store():
        _reach(address, port)
    store = TCPStore(
        address,
        port,
        started.world,
        is_master=_holds_store(),
        timeout=timedelta(seconds=_timeout()),
        wait_for_workers=False,  # connect waits, and names processes that are missing
        multi_tenant=True,  # the process group uses the same port
    )
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    ours = PrefixStore(f"nas {attempt}", store)
    if attempt and os.environ.get(AGENT_STORE) == "True":
        _renew(ours, started.first)
    return ours


def _holds_store() -> bool:
    """Return whether the store is in this process: it is in the first, unless torchrun holds it."""
    return launched().first and os.environ.get(AGENT_STORE) != "True"


def _address() -> tuple[str, int]:
    """Return the address and the port of the store; set the variables from which the process group reads them."""
    if launched().by == "srun":
        machines = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or "127.0.0.1"
        os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(machines))
        os.environ.setdefault("MASTER_PORT", str(_port_of_step()))
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def _port_of_step() -> int:
    """Return the port of this step of a SLURM job; of a job's first step the one that Lightning would select."""
    job, step = (int(os.environ.get(name) or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return FIRST_PORT + (job + STEP * step) % PORTS


def _reach(address: str, port: int) -> None:
    """Wait until a connection is accepted; raise an OSError if that takes too long. TCPStore would print C++ frames."""
    end = time.monotonic() + _timeout()
    while True:
        try:
            with socket.create_connection((address, port), timeout=_timeout()):
                return
        except OSError:
            if time.monotonic() >= end:
                raise
            time.sleep(min(0.1, _timeout() / 10))


def _clone() -> Store:
    """Return a store with a connection of its own, which another thread can use."""
    return cast(Store, _store().clone())  # type: ignore[attr-defined]  # missing in torch's stubs


def _renew(store: Store, first: bool) -> None:
    """Move the process group to a new store, since torchrun restarts processes with the store of the last attempt.

    A process group would take old entries there for new ones and wait for processes that have ended (pytorch#135712,
    open in torch 2.13).
    """
    if first:
        with socket.socket() as free:
            free.bind(("", 0))
            store.set("port", str(free.getsockname()[1]))
    os.environ["MASTER_PORT"] = store.get("port").decode()
    os.environ[AGENT_STORE] = "False"


def from_first(make: Callable[[], T]) -> T:
    """Call ``make`` in the first process and return its result in every process.

    Args:
        make: function that returns JSON values.

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
    """Make a function run in the first process only, while the others wait for its result and return it too."""

    @functools.wraps(function)
    def shared(*args: P.args, **kwargs: P.kwargs) -> T:
        return from_first(lambda: function(*args, **kwargs))

    return shared


def together() -> None:
    """Wait until every process has called this; raise FailedElsewhere if a process fails meanwhile."""
    world = launched().world
    if world == 1:
        return
    key = f"here {next(_numbers)}"
    _store().add(key, 1)
    _wait(lambda: _store().add(key, 0) == world)


def _wait(condition: Callable[[], bool], at_most: float = float("inf")) -> None:
    """Wait until a condition holds; raise FailedElsewhere if a process fails meanwhile."""
    end = time.monotonic() + at_most
    pause = 0.001
    while not condition() and time.monotonic() < end:
        if (status := _failure()) is not None:
            raise FailedElsewhere(status)
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def _failure() -> int | None:
    """Return the exit status of the process that failed; None if no process has failed."""
    store = _store()
    return int(store.get(FAILED).split()[1]) if store.check([FAILED]) else None


def report_failure(status: int) -> int | None:
    """Report to the other processes that this process fails, unless another process has reported a failure before.

    Args:
        status: exit status of this process.

    Returns:
        None if this process is the first to fail, so that it prints the error; otherwise the exit status of the process
        that prints it.
    """
    started = launched()
    if started.world == 1:
        return None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it once a process has ended; this one ends anyway
    if not _store.cache_info().currsize:  # the others cannot be reached
        return None
    _heartbeat().stop()  # it would end this process before the message
    ours = f"{started.rank} {status}"
    try:
        end = time.monotonic() + PATIENCE
        while not started.first and _failure() is None and time.monotonic() < end:
            time.sleep(0.05)
        reported = _store().compare_set(FAILED, "", ours).decode()
    except RuntimeError:  # the process that holds the store has ended
        return None
    return None if reported == ours else int(reported.split()[1])


def leave(status: int) -> NoReturn:
    """End this process after a failure of any process, without waiting for collectives that are in progress."""
    started = launched()
    if started.world == 1:
        sys.exit(status)
    with suppress(RuntimeError):  # the store is gone
        if _store.cache_info().currsize:
            _heartbeat().stop()
            _store().add(LEAVING, 1)
            end = time.monotonic() + TO_LEAVE
            while _holds_store() and _store().add(LEAVING, 0) < started.world and time.monotonic() < end:
                time.sleep(0.05)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def leave_together(status: int) -> NoReturn:
    """End every process of a stopped run with the same exit status."""
    if launched().world > 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to the others once a process has ended
        together()
    leave(status)
