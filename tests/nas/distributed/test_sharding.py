"""Sharded weights train as whole ones do."""

from pathlib import Path

from tests.nas.commands import nas
from tests.nas.distributed.several import KILLED, OPTIONS, in_trouble, searched, trained_alike


def test_sharded_weights_and_sampled_routes_train_as_one_and_go_on_when_torchrun_starts_them_again(
    tmp_path: Path,
) -> None:
    restarted = in_trouble(
        tmp_path, 12, 0, KILLED, "trainer=fsdp", "trainer.accumulate=2", "relaxation=gumbel", restarts=1
    )
    assert restarted.ended.status == 0, restarted.ended.err
    assert "Continuing from step 10: 10 steps are left to train." in restarted.ended.out
    alone = nas("search", *OPTIONS, "relaxation=gumbel", f"output={tmp_path / 'alone'}")
    trained_alike(searched(tmp_path), alone.run, within=1e-5)
