"""A step with activation checkpointing computes the same in less memory."""

import pytest
import torch
from torch import Tensor

from tests.nas.training.test_module import made


@pytest.mark.parametrize("options", [("relaxation=gumbel",), ("relaxation=gumbel", "relaxation.router=darts")], ids=str)
@pytest.mark.parametrize("space", ["token_hybrid", "joint"])
def test_activation_checkpointing_changes_memory_and_no_number(space: str, options: tuple[str, ...]) -> None:
    """Gradients with random routes are the same, and fewer tensors are saved for the backward pass."""
    results, saved = [], []
    for recomputes in ("false", "true"):
        given = (*options, f"trainer.activation_checkpointing={recomputes}")
        module = made("cpu", f"+space={space}", *given, begun=True)
        batch, sizes = module.task.train_batch(0).scored(), [0]

        def keep(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes[0] += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss = module.training_step(batch, 0)
        module.backward(loss)
        results.append({name: p.grad for name, p in module.named_parameters()})
        saved.append(sizes[0])
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=0, atol=0, msg=name)
    assert saved[1] < saved[0] / 2
