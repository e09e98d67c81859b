"""Processes that work beside each other on one machine: each with its GPU, its share of the cores, and an end."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from types import FrameType

import torch

from nas.console import silence
from nas.plugins.hydra_sources import register
from nas.plugins.loading import load

GPUS = "CUDA_VISIBLE_DEVICES"


def start(process: SpawnProcess, number: int) -> None:
    """Start a worker's process, with a GPU of its own where there are several.

    A terminal's Ctrl-C does not reach it, which would show where it is by a traceback: see `stopping`.

    Args:
        process: to start.
        number: of the worker, from 0.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _environment(_gpu(number)):
            process.start()
    finally:
        signal.signal(signal.SIGINT, before)


def prepare(workers: int, plugins: Sequence[str]) -> None:
    """What a worker's process does first.

    Args:
        workers: how many share the cores.
        plugins: option ``plugins`` of the command, as it is loaded there.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    register()
    load(plugins)
    silence()


def orphaned(parent: int | None) -> bool:
    """Whether the process that started this one, if any, is gone."""
    return parent is not None and os.getppid() != parent


def was_stopped(process: SpawnProcess) -> bool:
    """Whether a process that is over was stopped, by itself or before it could do so, rather than failed."""
    return process.exitcode in (0, -signal.SIGTERM)


def how_it_failed(process: SpawnProcess) -> str:
    """What to tell of a process that is over and was not stopped."""
    code = process.exitcode or 0
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"failed (exit status {code})"


def _gpu(number: int) -> dict[str, str]:
    """The environment in which a worker sees one of this machine's GPUs."""
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
    """Ctrl-C or SIGTERM stops the processes, told once each time, and this one once they have stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
