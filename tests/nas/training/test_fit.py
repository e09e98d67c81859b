"""Training in a run folder: steps, checkpoints and the time it takes."""

import json
import time
from pathlib import Path

import pytest
from torch import Tensor

from nas.data import Batch
from nas.training.module import TrainingModule
from tests.nas.commands import SEARCH, nas
from tests.nas.interrupting import interrupt_at


def test_training_time_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(3, monkeypatch)
    stopped = nas("search", *SEARCH, f"output={tmp_path}")
    monkeypatch.undo()
    training_step = TrainingModule.training_step

    def slow(self: TrainingModule, batch: Batch, index: int) -> Tensor:
        time.sleep(0.3)
        return training_step(self, batch, index)

    first = json.loads((stopped.run / "metrics.json").read_text())["training_seconds"]
    monkeypatch.setattr(TrainingModule, "training_step", slow)
    nas("search", f"resume={stopped.run}")
    assert json.loads((stopped.run / "metrics.json").read_text())["training_seconds"] > first + 0.5
