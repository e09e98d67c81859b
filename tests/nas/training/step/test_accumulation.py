"""Micro-batches: a step that accumulates their gradients is a step on the whole batch."""

import pytest
import torch

from nas.data import IGNORE, Batch
from nas.training.module import TrainingModule
from nas.training.step.accumulation import split
from tests.nas.commands import SEARCH, refusal
from tests.nas.data.packed import lines
from tests.nas.training.test_module import TEXT, made

__all__ = ["lines"]

SEARCHED = ("+space=joint", "space.chunk_sizes=[8,16]", "searcher=pairs")
REMEDIES = ("budget.by_layer=true", "budget.route_dropout_over=0.5", "budget.loss_margin=0.1")


def steps_of(count: int, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Figures, gradients and buffers after each of two steps in so many micro-batches, in float64."""
    module = made("cpu", "data.batch_size=4", f"trainer.accumulate={count}", *options).double()
    optimizer = module.configure_optimizers()["optimizer"]
    found = []
    for step in range(2):
        monkeypatch.setattr(TrainingModule, "global_step", step)
        batch = module.task.train_batch(step)
        batch.targets[0] = IGNORE  # a micro-batch without scored tokens, and others with few
        batch.targets[1, -1] = IGNORE
        if count == 1:
            module.zero_grad()
        given = batch.scored() if count == 1 else split(batch, count)
        module.backward(module.training_step(given, step))
        module.on_after_backward()
        latest = {f"latest.{name}": torch.as_tensor(value).double() for name, value in module.latest.items()}
        gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        found.append(latest | gradients | {name: buffer.double() for name, buffer in module.named_buffers()})
        optimizer.step()
    return found


@pytest.mark.parametrize(
    "options",
    [
        ("budget.dense_until=1",),
        ("relaxation=gumbel", "budget.exact=true", "budget.target=0.3", "trainer.activation_checkpointing=true"),
        REMEDIES,
        SEARCHED,
    ],
    ids=["dense", "sampled", "remedies", "searched"],
)
def test_micro_batches_are_one_large_batch(options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    begun = () if options[0].startswith("budget.dense") else ("budget.dense_until=0",)
    whole, in_four = (steps_of(count, (*options, *begun), monkeypatch) for count in (1, 4))
    for expected, found in zip(whole, in_four, strict=True):
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-12, equal_nan=True, msg=name)


@pytest.mark.usefixtures("lines")
def test_micro_batches_of_packed_documents_are_one_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*TEXT, "model.layers=2", "budget.exact=true", "budget.target=0.3", "budget.dense_until=0")
    test_micro_batches_are_one_large_batch(options, monkeypatch)


def test_micro_batches_are_the_sequences_of_the_batch_in_order() -> None:
    tokens = torch.arange(12).view(4, 3)
    micro = split(Batch(tokens, tokens, None), 2)
    assert [one.tokens.tolist() for one in micro.batches] == [tokens[:2].tolist(), tokens[2:].tolist()]
    assert micro.scored == [6, 6]


def test_a_batch_that_cannot_be_split_into_micro_batches() -> None:
    message = refusal("search", *SEARCH, "data.batch_size=6", "trainer.accumulate=4")
    assert "trainer.accumulate=4 splits" in message
    assert "give trainer.accumulate=3, or data.batch_size=8." in message
