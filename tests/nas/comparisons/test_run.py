"""A comparison that is killed or interrupted continues from its trainings."""

import os
import signal
from pathlib import Path

import pytest

from tests.nas.commands import SHORT, SMALL
from tests.nas.comparisons.comparing import compare, comparison
from tests.nas.processes import Halted, wait_for, wait_for_end


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc, to know the workers")
@pytest.mark.parametrize("victim", ["command", "worker"])
def test_a_killed_comparison_goes_on_where_it_was(tmp_path: Path, victim: str) -> None:
    few = (*SHORT, "trainer.steps=4", "learning_rates=[0.01]", "timing=false")
    options = ("baselines=[linear,softmax,softmax_rope]", "seeds=1", "context=32", *few)
    begun = Halted(tmp_path, 3, "compare", *SMALL, *options, "workers=2", f"output={tmp_path}")
    workers = begun.waiting(2)
    if victim == "command":
        begun.process.kill()
        wait_for_end(begun.process)
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    else:
        os.kill(workers[0], signal.SIGKILL)
        begun.go()
        killed = wait_for_end(begun.process)
        assert "A worker was killed (SIGKILL) in " in killed.out
        assert "2 of 3 trainings are done. Continue with: resume=" in killed.out
        assert killed.status == 1
    (run,) = (tmp_path / "compare").iterdir()
    ended = compare(f"resume={run}", *SMALL, *options, "workers=1")
    assert ended.status == 0, ended.err
    trainings = [path.name.split("_", 2)[2] for path in (run / "train").iterdir()]
    assert sorted(trainings) == sorted({*trainings}), "each went on in its own folder"
    assert len(trainings) == 3
    assert [contender.seeds for contender in comparison(run).contenders] == [(0,)] * 3


def test_ctrl_c_saves_what_was_learnt(tmp_path: Path) -> None:
    options = ("baselines=[linear,softmax]", "seeds=1", "workers=1", "context=32", "learning_rates=[0.01]")
    begun = Halted(tmp_path, 3, "compare", *SMALL, *options, f"output={tmp_path}")
    begun.waiting(1)
    begun.process.send_signal(signal.SIGINT)
    begun.go()
    stopped = wait_for_end(begun.process)
    assert stopped.status == 130, stopped.err
    assert "0 of 2 trainings are done. Continue with: resume=" in stopped.out
    assert stopped.err == ""
