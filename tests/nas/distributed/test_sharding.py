"""Sharded weights train as whole ones do."""

from pathlib import Path

from tests.nas.commands import nas
from tests.nas.distributed.several import KILLED, OPTIONS, in_trouble, searched, trained_alike

SEARCHED = ("relaxation=gumbel", "budget.exact=true", "space.operations=[linear,token_hybrid]", "searcher=gradient")
"""Weights, routers whose thresholds are moved, and architecture logits, which are not sharded."""


def test_sharded_weights_train_as_one_and_go_on_when_torchrun_starts_them_again(tmp_path: Path) -> None:
    options = ("trainer=fsdp", "trainer.accumulate=2", *SEARCHED)
    restarted = in_trouble(tmp_path, 12, 0, KILLED, *options, restarts=1)
    assert restarted.ended.status == 0, restarted.ended.err
    assert "Continuing from step 10: 10 steps are left to train." in restarted.ended.out
    alone = nas("search", *OPTIONS, *SEARCHED, f"output={tmp_path / 'alone'}")
    trained_alike(searched(tmp_path), alone.run, within=1e-5)
