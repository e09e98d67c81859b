"""The cost of a step and the budget: prices by layer, and the loss that ends the dense phase."""

import pytest
import torch

from nas.training.updates.optimizer import routers_of
from tests.nas.training.test_module import first_batch, made


def test_a_budget_for_each_layer_prices_each_layer_by_its_own_cost() -> None:
    module = made("cpu", "budget.by_layer=true", "budget.tighten_over=0", "budget.price=0", begun=True)
    batch = first_batch(module)
    module.training_step(batch, 0)
    assert module.latest["share"] == 1.0
    routers_of(module.model)[0].move_threshold(torch.tensor(50.0))
    for _ in range(20):
        loss = module.training_step(batch, 0)
    assert module.latest["share"] == 0.5
    first, second = module.budget.running_cost.tolist()
    assert (first, second) == (pytest.approx(0.95**20, rel=0.1), 1.0)
    pressed = module.budget.multiplier[1].item()  # of two layers, with the cost 1; the other has the cost 0
    assert loss.item() == pytest.approx(float(module.latest["loss"]) + pressed / 2, abs=0.02)
