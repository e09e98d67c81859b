"""Worker processes that share one machine: their GPUs and cores, and how they end.

Functions that need torch import it, since importing it takes seconds and not every worker needs it.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from types import FrameType

from nas.console import silence
from nas.plugins.hydra_sources import register
from nas.plugins.loading import load

GPUS = "CUDA_VISIBLE_DEVICES"
STOP = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop a command."""


@dataclass(frozen=True)
class Setup:
    """What the process of a worker needs to know before its work.

    Attributes:
        workers: number of workers that share the cores.
        plugins: modules to load, as in the option ``plugins`` of the command.
        environment: all environment variables of the process.
    """

    workers: int
    plugins: Sequence[str]
    environment: Mapping[str, str]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(process: BaseProcess) -> None:
    """Start the process of a worker, which must call `prepare`.

    Signals that the process gets before wait for `prepare`. A server process that starts with the first worker never
    handles them: it ends after the command and the workers.
    """
    # The server imports what the command would, whatever lies in the current folder. `prepare` undoes these variables.
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    with _signals_held(), _environment({"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}):
        process.start()


def prepare(setup: Setup) -> None:
    """Set up the process of a worker: environment, signals, threads, plugins and warnings.

    The process ignores Ctrl-C of the terminal, which would print a traceback; `stopping` ends it by SIGTERM instead.
    """
    os.environ.clear()
    os.environ.update(setup.environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // setup.workers))
    register()
    load(setup.plugins)
    silence()


def orphaned() -> bool:
    """Return whether this process is a worker whose command is gone."""
    command = multiprocessing.parent_process()
    return command is not None and not command.is_alive()


def was_stopped(process: BaseProcess) -> bool:
    """Return whether a process that has ended completed or was stopped by SIGTERM, rather than failed."""
    return process.exitcode in (0, -signal.SIGTERM)


def failure_of(process: BaseProcess) -> str:
    """Return how a process failed, as text; the process must have ended without being stopped."""
    code = process.exitcode or 0
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"failed (exit status {code})"


def gpu_of(number: int) -> dict[str, str]:
    """Return the environment variables that limit worker ``number`` to one GPU; empty with at most one GPU."""
    import torch

    given = os.environ.get(GPUS)
    gpus = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    return {GPUS: gpus[number % len(gpus)]} if len(gpus) > 1 else {}


@contextmanager
def _signals_held() -> Iterator[None]:
    """Block the signals that stop a command in this thread, and in processes that it starts in the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it unblocks the signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def stopping() -> Iterator[Callable[[Sequence[BaseProcess]], None]]:
    """Forward each Ctrl-C and SIGTERM to processes as one SIGTERM while the block runs.

    Yields:
        A function to call once with the processes, which then get one SIGTERM for all earlier signals.
    """
    started: list[BaseProcess] = []
    early = False

    def stop(number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        nonlocal early
        early |= not started
        for process in started:
            process.terminate()

    def forward_to(processes: Sequence[BaseProcess]) -> None:
        started.extend(processes)
        if early:
            stop()

    before = {number: signal.signal(number, stop) for number in STOP}
    try:
        yield forward_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
