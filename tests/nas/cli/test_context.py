"""Options with which processes cannot share sequences are refused before anything is written."""

from dataclasses import replace
from typing import Any

import pytest

from nas.cli.context import check_context
from nas.config import SearchConfig
from nas.distributed.collectives import check_batch_size
from nas.errors import UserError
from tests.nas.commands import SEARCH, composed
from tests.nas.distributed.starts import TORCHRUN, start


@pytest.fixture(scope="module")
def config() -> SearchConfig:
    made: SearchConfig = composed("search", *SEARCH, "trainer.context_parallel=4")
    return made


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"strategy": "fsdp"}, "trainer.strategy=fsdp, .*; give trainer.strategy=ddp."),
        ({"cuda_graphs": True}, "trainer.cuda_graphs=true, .*; give trainer.cuda_graphs=auto."),
        ({"compile": True}, "trainer.compile=true, .*; give trainer.compile=false."),
        ({"accumulate": 2}, "trainer.accumulate=2, .*; give trainer.accumulate=1."),
        ({"context_parallel": 3}, "does not divide the 8 processes that torchrun started; give a divisor of 8"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, option: dict[str, Any], told: str
) -> None:
    start(monkeypatch, TORCHRUN)
    check_context(config)
    trainer = replace(config.trainer, **option)
    if trainer.context_parallel == 4:
        check_context(replace(config, trainer=replace(trainer, context_parallel=1)))
    with pytest.raises(UserError, match=told):
        check_context(replace(config, trainer=trainer))


def test_a_teacher_of_whole_sequences(config: SearchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, TORCHRUN)
    with pytest.raises(UserError, match=r"budget.distillation=0.5, .*; give budget.distillation=0."):
        check_context(replace(config, budget=replace(config.budget, distillation=0.5)))


def test_packed_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, TORCHRUN)
    tokens = ("+space=token_hybrid", "data=tokens", "trainer.context_parallel=4")
    check_context(composed("search", *tokens))
    with pytest.raises(UserError, match=r"data.documents=packed, .*; give data.documents=joined."):
        check_context(composed("search", *tokens, "data.documents=packed"))


def test_a_single_process_is_told_how_to_start_several(config: SearchConfig) -> None:
    with pytest.raises(UserError, match=r"needs 4 processes for each sequence, .* torchrun --nproc-per-node=4 "):
        check_context(config)


def test_trainings_of_one_process() -> None:
    compared = composed("compare", "baselines=[linear]", "trainer.context_parallel=2")
    with pytest.raises(UserError, match="each training of a sweep or a comparison has one process"):
        check_context(compared)


def test_a_batch_is_split_over_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, TORCHRUN)
    check_batch_size(2, sharing=4)
    with pytest.raises(UserError, match=r"data.batch_size=3 .* over 2 groups of 4 processes; give 4, or start 4."):
        check_batch_size(3, sharing=4)
