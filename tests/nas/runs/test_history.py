"""The scalars of a training by step."""

from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from nas.runs.folder import TENSORBOARD, Run
from nas.runs.history import FINAL, history, mean_share


def test_scalars_come_by_step_under_the_reports_names(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / TENSORBOARD)) as writer:
        writer.add_scalar("loss", 0.5, 2)
        writer.add_scalar("loss", 0.75, 1)
        writer.add_scalar("budget", 0.25, 2)
        writer.add_scalar(f"{FINAL}recall", 1.0, 2)
    assert history(Run(tmp_path)) == [{"step": 1, "loss": 0.75}, {"step": 2, "loss": 0.5, "target": 0.25}]


@pytest.mark.parametrize("made", [False, True], ids=["no folder", "nothing in it"])
def test_where_nothing_was_logged_there_is_none(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / TENSORBOARD).mkdir()
    assert history(Run(tmp_path)) == []


def test_the_mean_share_is_over_all_logged_steps(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / TENSORBOARD)) as writer:
        writer.add_scalar("loss", 0.5, 1)
    assert mean_share(history(Run(tmp_path))) is None
    with SummaryWriter(str(tmp_path / TENSORBOARD)) as writer:
        for step, share in enumerate((1.0, 0.5, 0.0, 0.0)):
            writer.add_scalar("share", share, step)
    assert mean_share(history(Run(tmp_path))) == 0.375
