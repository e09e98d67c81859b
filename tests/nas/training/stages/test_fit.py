"""The run of a stage: its folder, its figures, damaged checkpoints, and what stays as it is."""

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from rich.console import Console

from nas.errors import UserError
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.runs.history import history
from nas.training.stages.fit import Stage, fit_stage, only_trains
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of, model_and_task
from tests.nas.training.stages.test_module import Embedded


class Trained(Embedded):
    """With an optimiser."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.SGD(self.learnt.values(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.falling)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def means(figures: Mapping[str, float]) -> dict[str, float]:
    return {"size": figures["loss"]}


STAGE = Stage("shrinking", "shrinking", means, "Shrunk", " of embeddings")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def module_of(folder: Path, steps: int = 3) -> Trained:
    config = config_of(folder, "space.operations=[softmax,linear]")
    return Trained(*model_and_task(config), config, steps)


def test_only_what_is_learnt_changes(folder: Path, tmp_path: Path) -> None:
    module, output = module_of(folder), io.StringIO()
    before = {name: weight.clone() for name, weight in module.model.state_dict().items()}
    assert fit_stage(module, STAGE, Run(tmp_path), Console(file=output, width=100))
    changed = {name for name, weight in module.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {"embedding.weight"}
    assert all(p.requires_grad and p.grad is None for p in module.model.parameters())
    logged = history(Run(tmp_path / "shrinking"))
    assert [row["step"] for row in logged] == [1, 2, 3]
    assert f"Shrunk: size {logged[0]['loss']:.3f} to {logged[2]['loss']:.3f}" in output.getvalue()
    assert f"shrinking, step 3 of 3  size of embeddings {logged[2]['loss']:.3f}" in output.getvalue()


def test_gradients_are_clipped(folder: Path, tmp_path: Path) -> None:
    module = module_of(folder, 1)
    before = module.model.embedding.weight.detach().clone()
    fit_stage(module, STAGE, Run(tmp_path), Console(quiet=True), gradient_clip=0.25)
    assert (module.model.embedding.weight - before).norm().item() == pytest.approx(0.25, rel=1e-3)


def test_a_checkpoint_of_other_parameters_is_refused(folder: Path, tmp_path: Path) -> None:
    fit_stage(module_of(folder), STAGE, Run(tmp_path), Console(quiet=True))
    newest = checkpoints.newest(tmp_path / "shrinking")
    assert newest is not None
    for path in checkpoints.paths(tmp_path / "shrinking"):
        checkpoints.save(
            tmp_path / "shrinking", int(path.stem[5:]), lambda to: torch.save({"state_dict": {}, "global_step": 3}, to)
        )
    with pytest.raises(UserError, match="does not have the parameters that the shrinking trains"):
        fit_stage(module_of(folder), STAGE, Run(tmp_path), Console(quiet=True))


def test_parameters_learn_again_after_an_error(folder: Path) -> None:
    model = module_of(folder).model

    def fail() -> None:
        with only_trains(model, [model.embedding.weight]):
            assert [name for name, p in model.named_parameters() if p.requires_grad] == ["embedding.weight"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert all(p.requires_grad for p in model.parameters())
