"""The checkpoint with the best validation quality, and the answer that is made of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.runs import checkpoints
from nas.training.module import TrainingModule
from nas.training.validation import Validated, Validation
from tests.nas.commands import SMALL, nas
from tests.nas.training.test_module import made

TRAIN = ("architecture=linear-softmax", *SMALL, "trainer.validate_every=1", "data.length_factors=[1]")


def test_a_run_ends_with_the_weights_of_the_best_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qualities = {1: 0.1, 2: 0.3, 3: float("nan"), 4: 0.2, 5: 0.3, 6: 0.1}

    def validate(self: TrainingModule) -> Validation:
        self.validated = Validated(self.global_step, qualities[self.global_step])
        return Validation(self.validated.quality, None)

    monkeypatch.setattr(TrainingModule, "validate", validate)
    ended = nas("train", *TRAIN, "trainer.answer=best", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    best = checkpoints.best(ended.run)
    assert best is not None
    saved = torch.load(best, weights_only=True)
    assert saved["global_step"] == 2
    answer, last = load_file(ended.run / "model.safetensors"), checkpoints.paths(ended.run)
    assert all(torch.equal(weight, saved["state_dict"][f"model.{name}"]) for name, weight in answer.items())
    assert [path.stem for path in last] == ["step=000000006", "step=000000004"]


def test_validations_count_once_the_cost_is_that_of_the_budget() -> None:
    module = made("cpu", "budget.tighten_over=0.5")
    assert not module.settled
    module.budget.begin_in_time(progress=0.0, look=False)
    assert not module.settled
    module.budget.began.fill_(-1.0)
    module.budget._read_began()
    assert module.settled


def test_validations_count_once_an_architecture_is_selected_during_training() -> None:
    module = made("cpu", "+space=layer_hybrid", "searcher=random", "searcher.select_at=0.5", begun=True)
    module.budget.began.fill_(-1.0)
    module.budget._read_began()
    assert not module.settled
    module.settle((0,) * len(module.space.options), within=True)
    assert module.settled
