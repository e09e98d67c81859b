"""The loss of a step: without targets, and in mixed precision."""

import math

import pytest
import torch

from nas.data import IGNORE
from tests.nas.training.test_module import NEEDLE, TEXT, first_batch, made


@pytest.mark.parametrize("relaxation", ["argmax_ste", "gumbel"])
def test_loss_and_share_are_float32_in_mixed_precision(relaxation: str) -> None:
    module = made("cpu", "trainer.precision=bf16-mixed", f"relaxation={relaxation}", begun=True)
    with module.autocast():
        loss = module.training_step(first_batch(module), 0)
    loss.backward()
    for name in ("loss", "share"):
        figure = module.latest[name]
        assert isinstance(figure, torch.Tensor)
        assert figure.dtype == torch.float32, name
    assert math.isfinite(loss.item())
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("data", [TEXT, NEEDLE], ids=["text", "needle"])
def test_a_batch_without_targets_has_no_loss(data: tuple[str, ...]) -> None:
    module = made("cpu", *data, begun=True)
    batch = module.task.train_batch(0)
    loss = module.training_step(batch._replace(targets=torch.full_like(batch.targets, IGNORE)).scored(), 0)
    module.backward(loss)
    assert module.latest["loss"] == 0
    assert all(torch.as_tensor(figure).isfinite() for figure in (loss, *module.latest.values()))
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    head = module.model.head.weight.grad
    assert head is not None
    assert not head.any()
