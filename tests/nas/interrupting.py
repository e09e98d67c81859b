"""Signals to a training, at a step of it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from nas.data import Batch
from nas.runs import checkpoints
from nas.training.module import TrainingModule


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGINT) -> None:
    """Have the next training signalled in a step, as by Ctrl-C."""
    training_step: Callable[[TrainingModule, Batch, int], Tensor] = TrainingModule.training_step

    def interrupted(self: TrainingModule, batch: Batch, index: int) -> Tensor:
        if self.global_step == step:
            os.kill(os.getpid(), number)
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next training killed in a step."""
    interrupt_at(step, monkeypatch, signal.SIGKILL)


def kill_in_checkpoint(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next training killed while it writes the checkpoint of a step, of which there is a part by then."""
    save = checkpoints.save

    def until_killed(folder: Path, at: int, write: Callable[[Path], object]) -> None:
        def half(path: Path) -> None:
            write(path)
            path.write_bytes(path.read_bytes()[:1000])
            os.kill(os.getpid(), signal.SIGKILL)

        save(folder, at, half if at == step else write)

    monkeypatch.setattr(checkpoints, "save", until_killed)
