"""What the modules of all stages share: seeds, micro-batches, logged steps, checkpoints and the schedule."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from nas.data import Scored
from nas.training.batches import TrainingStream
from nas.training.stages.module import StageModule
from nas.training.step.losses import Mean
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


class Embedded(StageModule):
    """Makes the embeddings of the targets small; only they are trained."""

    group: ClassVar[str] = "align"

    @property
    def learnt(self) -> dict[str, Parameter]:
        return {"model.embedding.weight": self.model.embedding.weight}

    def losses(self, batch: Scored, mean: Mean, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss = mean(self.model.embedding(batch.targets).square().sum(-1))
        return loss, {"loss": loss.detach(), "parts": torch.tensor(parts / parts**2), "drawn": torch.rand(()) / parts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def module_of(folder: Path, *options: str) -> Embedded:
    config = config_of(folder, "space.operations=[softmax,linear]", "data.batch_size=4", *options)
    return Embedded(*model_and_task(config), config, 10)


def test_micro_batches_sum_up_to_the_batch(folder: Path) -> None:
    found = []
    for count in (1, 4):
        module = module_of(folder, f"trainer.accumulate={count}")
        module.training_step(next(iter(module.stream(0))), 0).backward()
        assert module.model.embedding.weight.grad is not None
        found.append((module.figures(), module.model.embedding.weight.grad.clone()))
    (one, gradient), (other, summed) = found
    assert other["loss"] == pytest.approx(one["loss"])
    assert (one["parts"], other["parts"]) == (1.0, 1.0)
    torch.testing.assert_close(summed, gradient)


def test_random_numbers_follow_from_the_step(folder: Path) -> None:
    drawn = []
    for _ in range(2):
        module = module_of(folder)
        torch.rand(3)
        module.training_step(next(iter(TrainingStream(module.task, 0, 1))), 0)
        drawn.append(module.figures()["drawn"])
    assert drawn[0] == drawn[1]


def test_the_first_the_last_and_every_nth_step_are_logged(folder: Path) -> None:
    module = module_of(folder, "trainer.log_every=4")
    assert [step for step in range(1, 12) if module.logs_at(step)] == [1, 4, 8, 10, 11]


def test_checkpoints_have_what_is_learnt_alone(folder: Path) -> None:
    module = module_of(folder)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert list(checkpoint["state_dict"]) == ["model.embedding.weight"]


def test_rates_fall_to_0_as_half_a_cosine(folder: Path) -> None:
    assert [round(module_of(folder).falling(step), 6) for step in (0, 5, 10, 12)] == [1.0, 0.5, 0.0, 0.0]
