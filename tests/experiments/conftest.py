"""Fixtures that run the commands of studies without a process for each, for tests of anything but the process."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import pytest

from experiments import runs
from tests.nas.commands import nas


class InOrder:
    """The part of a thread pool's interface that studies use; everything runs in the calling thread."""

    def __init__(self, workers: int) -> None: ...

    def __enter__(self) -> "InOrder":
        return self

    def __exit__(self, *error: object) -> None: ...

    def map(self, function: Callable[[Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        return map(function, values)


@pytest.fixture
def runs_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a study's ``python -m nas.<command>`` and its own modules in this process, without imports for each."""
    start = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        if command[:2] != [sys.executable, "-m"]:
            return start(command, **options)
        if not command[2].startswith("nas."):
            monkeypatch.setattr(sys, "argv", command[2:])
            if status := import_module(command[2]).main():
                raise subprocess.CalledProcessError(status, command)
            return subprocess.CompletedProcess(command, 0)
        ended = nas(command[2].removeprefix("nas."), *command[3:])
        if ended.status:
            raise subprocess.CalledProcessError(ended.status, command, ended.out, ended.err)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(runs, "execute", lambda command, *_: run(command) and None)
    monkeypatch.setattr(runs, "ThreadPoolExecutor", InOrder)
