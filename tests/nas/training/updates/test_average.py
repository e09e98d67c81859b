"""The moving average of weights, and that evaluation and answer use it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.runs import checkpoints
from nas.training.module import TrainingModule
from nas.training.updates.average import Average, decay_at
from tests.nas.commands import SHORT, SMALL, nas
from tests.nas.interrupting import interrupt_at
from tests.nas.training.test_loggers import rows_of
from tests.nas.training.test_module import made

OPTIONS = (
    *("architecture=linear-softmax", "logger=csv"),
    *SMALL,
    *SHORT,
    *("trainer.ema=0.5", "trainer.optimizer=muon", "trainer.schedule=wsd", "trainer.accumulate=2"),
    *("trainer.validate_every=1", "trainer.checkpoint_every=1"),
)


def test_the_average_of_weights() -> None:
    module = made("cpu")
    average = Average(module.model, 0.5)
    weight, own = module.model.embedding.weight, average.model.embedding.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    average.update(module.model, 1)
    assert decay_at(1, 0.5) == 2 / 11
    torch.testing.assert_close(own, before + 1 - 2 / 11)
    with torch.no_grad():
        weight.add_(1.0)
    average.update(module.model, 1000)
    torch.testing.assert_close(own, (before + 1 - 2 / 11 + weight) / 2)
    average.start(module.model)
    assert torch.equal(own, weight)
    assert not own.requires_grad
    assert weight.requires_grad


def test_an_averaged_run_ends_with_its_average_and_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nas("train", *OPTIONS, f"output={tmp_path / 'whole'}")
    assert whole.status == 0, whole.err
    interrupt_at(0, monkeypatch)
    stopped = nas("train", *OPTIONS, f"output={tmp_path / 'stopped'}")
    monkeypatch.undo()
    evaluated = []
    validate = TrainingModule.validate
    monkeypatch.setattr(
        TrainingModule, "validate", lambda self: evaluated.append(self.evaluated is not self.model) or validate(self)
    )
    assert nas("train", f"resume={stopped.run}").status == 0
    assert evaluated == [True]
    ends = [load_file(run / "model.safetensors") for run in (whole.run, stopped.run)]
    saved = torch.load(checkpoints.paths(whole.run)[0], weights_only=True)["state_dict"]
    for name in ends[0]:
        assert torch.equal(ends[0][name], ends[1][name]), name
        assert torch.equal(ends[0][name], saved[f"averaged.model.{name}"]), name
    assert any(not torch.equal(saved[f"model.{name}"], saved[f"averaged.model.{name}"]) for name in ends[0])
    rows = rows_of(whole.run)
    assert rows == [row for row in rows_of(stopped.run) if row["step"] != "1" or "final/recall" not in row]
    assert [{"loss", "validation_recall"} & row.keys() for row in rows[:2]] == [{"validation_recall"}, {"loss"}]
    assert rows[-1].keys() == {"final/recall", "step"}
