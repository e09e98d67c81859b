"""Training for longer: the learning rates, and the step at which routing began."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.training.module import TrainingModule
from nas.training.updates.optimizer import schedule
from tests.nas.commands import composed, nas


def test_the_learning_rates_are_those_of_the_new_schedule(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[int, float] = {}
    training_step = TrainingModule.training_step

    def seen(self: TrainingModule, batch: Any, index: int) -> Any:
        rates[self.global_step] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", seen)
    assert nas("search", f"resume={finished}", "trainer.steps=9").status == 0
    trainer = composed("search", "+space=token_hybrid", "trainer.steps=9", "trainer.warmup_steps=1").trainer
    assert rates == {step: pytest.approx(trainer.learning_rate * schedule(step, trainer)) for step in (6, 7, 8)}
    assert rates[6] > trainer.learning_rate * schedule(6, replace(trainer, steps=6))


def test_the_step_at_which_routing_began_stays(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkpoint, *_) = sorted((finished / "checkpoints").glob("*.ckpt"), reverse=True)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["budget.began"].fill_(0.5)
    torch.save(content, checkpoint)
    (finished / "checksums.json").unlink()
    began: list[float] = []
    on_train_end = TrainingModule.on_train_end

    def seen(self: TrainingModule) -> None:
        began.append(self.budget.began.item() * self.config.trainer.steps)
        on_train_end(self)

    monkeypatch.setattr(TrainingModule, "on_train_end", seen)
    assert nas("search", f"resume={finished}", "trainer.steps=12").status == 0
    assert began == [pytest.approx(3)]
    assert not math.isinf(began[0])
