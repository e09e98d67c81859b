"""Sharded weights train as whole ones do."""

from pathlib import Path

import pytest
import torch

from nas.runs.folder import Run
from nas.runs.history import history
from tests.nas.commands import nas
from tests.nas.distributed.several import KILLED, OPTIONS, in_trouble, searched, torchrun, trained_alike

SEARCHED = ("relaxation=gumbel", "budget.exact=true", "space.operations=[linear,token_hybrid]", "searcher=gradient")
"""Weights, routers whose thresholds are moved, and architecture logits, which are not sharded."""


def test_sharded_weights_train_as_one_and_go_on_when_torchrun_starts_them_again(tmp_path: Path) -> None:
    options = ("trainer=fsdp", "trainer.accumulate=2", *SEARCHED)
    restarted = in_trouble(tmp_path, 12, 0, KILLED, *options, restarts=1)
    assert restarted.ended.status == 0, restarted.ended.err
    assert "Continuing from step 10: 10 steps are left to train." in restarted.ended.out
    alone = nas("search", *OPTIONS, *SEARCHED, f"output={tmp_path / 'alone'}")
    trained_alike(searched(tmp_path), alone.run, within=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_gpus_train_as_one(strategy: str, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    on_gpu = (*OPTIONS, "trainer.accelerator=gpu", "trainer.precision=32-true", "trainer.cuda_graphs=false")
    both = torchrun(
        tmp_path / "logs", "-m", "nas.search", *on_gpu, f"trainer={strategy}", f"output={tmp_path / 'both'}"
    )
    assert both.ended.status == 0, both.ended.err
    alone = nas("search", *on_gpu, f"output={tmp_path / 'alone'}")
    losses = [[row["loss"] for row in history(Run(run))] for run in (searched(tmp_path / "both"), alone.run)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
