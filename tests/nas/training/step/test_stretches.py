"""Which trainings processes can share, and figures of whole sequences."""

from dataclasses import replace

import pytest
import torch

from nas.data import Scored, build_task
from nas.distributed.context.group import Context
from nas.errors import UserError
from nas.search_spaces.architecture import Layer
from nas.training.step.stretches import check_documents, check_length, check_stretches, correct_sequences
from tests.nas.commands import SEARCH, composed
from tests.nas.data.packed import lines

__all__ = ["lines"]

ROUTED = Layer("token_hybrid", 8)


def test_what_processes_can_share() -> None:
    config = composed("search", *SEARCH, "trainer.context_parallel=2", "data.length=96", "data.min_length=48")
    options = ((ROUTED, Layer("softmax", 32)), (chunks_of(12),))
    assert check_stretches(config, options) == 48
    assert check_stretches(config, ((Layer("linear", 32),),)) == 2
    told = "data.min_length=48 cannot be split into 2 stretches of whole chunks, .* give a multiple of 32, such as 64."
    with pytest.raises(UserError, match=told):
        check_stretches(config, ((chunks_of(16),),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.models.operations.window.Window.across", False)
        with pytest.raises(UserError, match="which operation window does not support"):
            check_stretches(config, ((Layer("window", 8),),))
    config = replace(config, trainer=replace(config.trainer, context_parallel=1))
    assert check_stretches(config, ((chunks_of(16),),)) == 1
    with pytest.raises(UserError, match=r"step 3 has a length of 40 cannot .* such as 48."):
        check_length("the batch of step 3 has a length of ", 40, 2, 16)


@pytest.mark.usefixtures("lines")
def test_tasks_whose_documents_are_packed_are_refused() -> None:
    given = ("+space=token_hybrid", "data=text", "data.length=64", "trainer.context_parallel=2")
    config = composed("search", *given)
    task = build_task(config.data, 0)
    with pytest.raises(UserError, match=r"=2 shares a sequence .* data=text has packed documents, .*; give "):
        check_documents(config, task)
    check_documents(replace(config, trainer=replace(config.trainer, context_parallel=1)), task)


def chunks_of(size: int) -> Layer:
    return ROUTED._replace(chunk_size=size)


def test_a_sequence_is_correct_if_all_its_stretches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_other = torch.tensor([0, 1, 0])

    def all_reduce(wrong: torch.Tensor, group: None) -> None:
        wrong += of_the_other

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    tokens, context = torch.zeros(3, 4, dtype=torch.int64), Context(0, 2)
    batch = Scored(tokens, torch.tensor([1, 4, 8, 11]), torch.zeros(4))
    found = correct_sequences(context, torch.tensor([True, True, True, False]), batch)
    assert found.tolist() == [True, False, False]
    found = correct_sequences(context, torch.ones(12, dtype=torch.bool), Scored(tokens, None, torch.zeros(12)))
    assert found.tolist() == [True, False, True]
