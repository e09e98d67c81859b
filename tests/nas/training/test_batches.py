"""The batches of a training: scored tokens, parts of bilevel training, micro-batches."""

import pytest
import torch

from nas.errors import UserError
from nas.training.batches import TrainingStream
from nas.training.step.accumulation import Split
from tests.nas.training.test_module import TEXT, made


@pytest.mark.parametrize("options", [(), TEXT], ids=["recall", "text"])
def test_what_is_scored_is_known_before_the_step(options: tuple[str, ...]) -> None:
    task = made("cpu", *options).task
    batch = task.train_batch(0)
    tokens, places, targets, _ = batch.scored()
    assert tokens is batch.tokens
    assert (places is None) == bool(options)
    assert torch.equal(targets, batch.targets.flatten()[slice(None) if places is None else places])
    assert (targets >= 0).all()
    assert len(targets) == (batch.targets >= 0).sum()


def test_a_stream_begins_at_a_step_and_alternates_between_the_parts_of_bilevel_training() -> None:
    task = made("cpu").task
    given = [batch.tokens for batch in TrainingStream(task, 2, 5, bilevel=True)]
    expected = [task.train_batch(step, part).tokens for step, part in ((2, "weights"), (3, "choices"), (4, "weights"))]
    assert all(map(torch.equal, given, expected))
    assert len(given) == 3


def test_sequences_are_longer_at_the_end_of_training() -> None:
    task = made("cpu", *TEXT).task
    given = [batch.tokens for batch in TrainingStream(task, 1, 4, longer_from=0.5, longer=2)]
    rows, length = task.train_batch(0).tokens.shape
    assert [tuple(tokens.shape) for tokens in given] == [(rows, length), *[(rows // 2, 2 * length)] * 2]
    (again,) = TrainingStream(task, 3, 4, longer_from=0.5, longer=2)
    assert torch.equal(again.tokens, given[2]), "of the step alone"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "longer_from=0.5 makes sequences longer at the end of training, which data=recall cannot do"),
        ((*TEXT, "trainer.longer=3"), "is no multiple of trainer.longer=3; give such a multiple"),
    ],
)
def test_what_cannot_be_longer_is_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made("cpu", *options, "trainer.longer_from=0.5")


def test_a_stream_splits_batches_into_micro_batches() -> None:
    (given,) = TrainingStream(made("cpu").task, 0, 1, accumulate=2)
    assert isinstance(given, Split)
    assert len(given.batches) == 2
