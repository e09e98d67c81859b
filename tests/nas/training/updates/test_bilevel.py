"""Bilevel training: each step updates either the weights, or routers and architecture logits."""

import pytest

from nas.training.module import TrainingModule
from nas.training.updates.optimizer import router_parameters
from tests.nas.training.test_module import first_batch, made


@pytest.mark.parametrize("step", [0, 1])
def test_a_step_has_the_gradients_of_its_level_alone(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("+space=layer_hybrid", "relaxation=darts", "trainer.bilevel=true")
    module = made("cpu", *options, begun=True)
    monkeypatch.setattr(TrainingModule, "global_step", step)
    module.backward(module.training_step(first_batch(module), step))
    module.on_after_backward()
    choosing = {id(p) for p in (*router_parameters(module.model), *module.architecture_logits.parameters())}
    updated = {id(p) for p in module.parameters() if p.grad is not None}
    everything = {id(p) for p in module.parameters()}
    assert updated
    assert updated <= (choosing if step == 1 else everything - choosing)
