"""Worker processes that share one machine: their GPUs and cores, and how they end.

Functions that need torch import it, since importing it takes seconds and not every worker needs it.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from types import FrameType

from nas.console import silence
from nas.plugins.hydra_sources import register
from nas.plugins.loading import load

GPUS = "CUDA_VISIBLE_DEVICES"


def start(process: SpawnProcess, number: int) -> None:
    """Start the process of a worker, with a GPU of its own if there are several.

    The process ignores Ctrl-C of the terminal, which would print a traceback; `stopping` ends it instead.

    Args:
        process: the process to start.
        number: number of the worker, from 0.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _environment(gpu_of(number)):
            process.start()
    finally:
        signal.signal(signal.SIGINT, before)


def prepare(workers: int, plugins: Sequence[str]) -> None:
    """Set up the process of a worker: signals, threads, plugins and warnings.

    Args:
        workers: number of workers that share the cores.
        plugins: modules to load, as in the option ``plugins`` of the command.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    register()
    load(plugins)
    silence()


def orphaned(parent: int | None) -> bool:
    """Return whether the process that started this one is gone; False if no process is given."""
    return parent is not None and os.getppid() != parent


def was_stopped(process: SpawnProcess) -> bool:
    """Return whether a process that has ended completed or was stopped by SIGTERM, rather than failed."""
    return process.exitcode in (0, -signal.SIGTERM)


def failure_of(process: SpawnProcess) -> str:
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
def stopping(processes: Sequence[SpawnProcess]) -> Iterator[None]:
    """Forward each Ctrl-C and SIGTERM to the processes as one SIGTERM while the block runs."""

    def stop(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
