"""Steps of an alignment: micro-batches, learning rates and what checkpoints have."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nas.training.alignment.module import AlignmentModule
from nas.training.batches import TrainingStream
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def module_of(folder: Path, *options: str) -> AlignmentModule:
    config = config_of(folder, "space.operations=[softmax,linear]", *options)
    model, task = model_and_task(config)
    return AlignmentModule(model, task, config, 10)


def test_micro_batches_give_the_figures_of_the_batch(folder: Path) -> None:
    figures = []
    for count in (1, 2):
        module = module_of(folder, f"trainer.accumulate={count}")
        batch = next(iter(TrainingStream(module.task, 0, 1, accumulate=count)))
        module.training_step(batch, 0).backward()
        assert all(p.grad is not None for p in module.learnt.values())
        figures.append(module.figures())
    assert figures[1] == pytest.approx(figures[0], rel=0.3)  # a mean of two ratios
    assert set(figures[0]) == {"error/layer_0/linear", "error/layer_1/linear"}


def test_matrices_learn_slower_and_rates_fall_to_0(folder: Path) -> None:
    module = module_of(folder, "align.learning_rate=0.1")
    made: Any = module.configure_optimizers()
    rates = {tuple(group["params"][0].shape): group["lr"] for group in made["optimizer"].param_groups}
    assert rates[4, 16] == pytest.approx(0.1 / 4)
    assert rates[4,] == 0.1
    factor = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [round(factor(step), 6) for step in (0, 5, 10, 12)] == [1.0, 0.5, 0.0, 0.0]


def test_checkpoints_have_the_added_parameters_alone(folder: Path) -> None:
    module = module_of(folder)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"].keys() == module.learnt.keys()
    assert not any("embedding" in name or ".q." in name for name in checkpoint["state_dict"])
    assert all(torch.equal(x, module.learnt[name]) for name, x in checkpoint["state_dict"].items())
