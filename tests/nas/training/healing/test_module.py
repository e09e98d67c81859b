"""Steps of a healing: what they learn, micro-batches, learning rates, batches and checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nas.data import Scored
from nas.data.text import Text
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.pretrained.original import load_original
from nas.pretrained.weights import load_pretrained
from nas.search_spaces.architecture import Layer
from nas.training.batches import TrainingStream
from nas.training.healing.module import HealingModule
from nas.training.updates.optimizer import router_parameters
from tests.nas.pretrained.written import write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def module_of(folder: Path, *options: str, steps: int = 10) -> HealingModule:
    """The healing of a linear layer and a routed one."""
    config = config_of(folder, "trainer.log_every=100", *options)
    supernet, task = model_and_task(config)
    model = LanguageModel(supernet.architecture.with_layers([Layer("linear", 8), Layer("token_hybrid", 8)]))
    load_pretrained(model, folder)
    return HealingModule(model, load_original(model.architecture, str(folder)), task, config, steps, learnt)


def step(module: HealingModule, count: int = 1) -> dict[str, float]:
    """Compute a step without an update; returns its figures."""
    batch = next(iter(TrainingStream(module.task, 0, 1, accumulate=count)))
    module.training_step(batch, 0).backward()
    return module.figures()


def test_hidden_states_are_learnt_first_and_then_predictions(folder: Path) -> None:
    for hidden, learns in ((1.0, "hidden_error"), (0.0, "original_divergence")):
        module = module_of(folder, f"heal.hidden={hidden}")
        figures = step(module)  # the first step logs everything
        assert set(figures) == {"hidden_error/layer_0", "hidden_error/layer_1", "original_divergence", "loss"}
        own = [value for name, value in figures.items() if name.startswith(learns)]
        assert figures["loss"] == pytest.approx(sum(own) / len(own))
        assert (module.model.head.weight.grad is None) is (hidden == 1.0)
        assert all(p.grad is None for p in module.teacher.parameters())


def test_other_steps_compute_what_they_learn_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HealingModule, "logs_at", lambda self, step: False)
    assert set(step(module_of(folder, "heal.hidden=0"))) == {"original_divergence", "loss"}
    assert set(step(module_of(folder, "heal.hidden=1"))) == {"hidden_error/layer_0", "hidden_error/layer_1", "loss"}


def test_the_logged_divergence_has_no_temperature(folder: Path) -> None:
    plain, soft = (step(module_of(folder, "heal.hidden=0", f"heal.temperature={value}")) for value in (1, 4))
    assert soft["original_divergence"] == pytest.approx(plain["original_divergence"])
    assert soft["loss"] != pytest.approx(plain["loss"], rel=1e-3)


@pytest.mark.parametrize("hidden", [0, 1])
def test_micro_batches_give_the_step_of_the_batch(folder: Path, hidden: int) -> None:
    figures, gradients = [], []
    for count in (1, 2):
        module = module_of(folder, f"heal.hidden={hidden}", f"trainer.accumulate={count}")
        figures.append(step(module, count))
        gradient = module.model.blocks[0].get_parameter("mixer.q.weight").grad
        assert gradient is not None
        gradients.append(gradient)
    assert figures[1] == pytest.approx(figures[0], rel=0.1)  # a mean of ratios, of which the divergence is none
    assert figures[1]["original_divergence"] == pytest.approx(figures[0]["original_divergence"], rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(*(gradient.flatten() for gradient in gradients), dim=0)
    assert cosine > 0.99


def test_routers_are_not_trained_and_not_in_checkpoints(folder: Path) -> None:
    module = module_of(folder)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"].keys() == module.learnt.keys()
    routers = {id(parameter) for parameter in router_parameters(module.model)}
    assert routers
    assert {id(p) for p in module.learnt.values()} == {id(p) for p in module.model.parameters()} - routers


def test_rates_warm_up_for_each_loss_and_fall_to_0(folder: Path) -> None:
    module = module_of(folder, "heal.hidden=0.5", steps=80)
    assert module.hidden_steps == 40
    factors = [module.factor(step) for step in range(81)]
    assert factors[0] == pytest.approx(0.25)
    assert factors[40] < 0.5 * factors[39]
    assert factors[43] == pytest.approx(module.falling(43))
    assert factors[80] == 0.0


@pytest.mark.parametrize("factor", [1, 2])
def test_batches_follow_those_of_the_search_and_may_be_longer(folder: Path, tmp_path: Path, factor: int) -> None:
    (tmp_path / "text.txt").write_text("".join(f"line {number}\n" for number in range(2000)))
    module = module_of(folder, "trainer.steps=6", f"heal.length_factor={factor}")
    task = module.task = Text(str(tmp_path / "text.txt"), 16, 4, 1, seed=0)
    batches = list(module.stream(8))
    expected = [task.train_batch(14), task.train_batch(15)]
    if factor > 1:
        expected = [task.longer_batch(14, factor, "all"), task.longer_batch(15, factor, "all")]
    assert tuple(expected[0].tokens.shape) == (4 // factor, 16 * factor)
    for batch, own in zip(batches, expected, strict=True):
        assert isinstance(batch, Scored)
        assert torch.equal(batch.tokens, own.tokens)
