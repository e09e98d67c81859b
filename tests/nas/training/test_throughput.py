"""Tokens per second: what counts as training, and that a checkpoint keeps it."""

import time
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

from nas.data import Scored
from nas.training.module import TrainingModule
from nas.training.throughput import Throughput

BATCH = Scored(torch.zeros(2, 50, dtype=torch.long), None, torch.zeros(100, dtype=torch.long))


def measured(monkeypatch: pytest.MonkeyPatch, seconds: list[float], *, log_every: int, between: float) -> Throughput:
    """After steps that took ``seconds`` each, with something else for ``between`` seconds behind every step."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    module = create_autospec(TrainingModule, instance=True)
    module.logs_at.side_effect = lambda step: step % log_every == 0
    throughput, trainer = Throughput(), SimpleNamespace(world_size=2, global_step=0)
    for second in seconds:
        throughput.on_train_batch_start(trainer, module, BATCH, 0)  # type: ignore[arg-type]
        now += second
        trainer.global_step += 1
        throughput.on_train_batch_end(trainer, module, None, BATCH, 0)  # type: ignore[arg-type]
        now += between
    return throughput


def test_the_median_takes_no_notice_of_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    throughput = measured(monkeypatch, [60.0, 0.5, 0.5, 0.5], log_every=1, between=0.0)
    assert throughput.tokens_per_second == pytest.approx(2 * 100 / 0.5)


def test_what_comes_behind_a_logged_step_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, [1.0] * 4, log_every=1, between=9.0).tokens_per_second == pytest.approx(200)
    assert measured(monkeypatch, [1.0] * 4, log_every=2, between=9.0).tokens_per_second == pytest.approx(400 / 11)


def test_nothing_is_told_before_a_logged_step_and_a_checkpoint_keeps_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, [1.0], log_every=2, between=0.0).tokens_per_second is None
    resumed = Throughput()
    resumed.load_state_dict(measured(monkeypatch, [1.0, 2.0], log_every=1, between=0.0).state_dict())
    assert resumed.tokens_per_second == pytest.approx(150)
    assert resumed.tokens == 2 * 2 * 100
