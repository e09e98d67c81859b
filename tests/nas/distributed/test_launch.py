"""How a process was started, and what is refused where the options ask for another start."""

import os

import pytest

from nas.distributed.launch import Launch, apart, how_to_start, launch_id, launched, restarted
from tests.nas.distributed.starts import SRUN, TORCHRUN, start


@pytest.mark.parametrize(("variables", "by"), [(TORCHRUN, "torchrun"), (SRUN, "srun")])
def test_several_processes_know_their_place(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], by: str
) -> None:
    start(monkeypatch, variables)
    assert launched() == Launch(by, rank=5, world=8, local=4, nodes=2)
    assert not launched().first
    apart()
    assert launched() == Launch()


@pytest.mark.parametrize("step", [None, str(0xFFFFFFFB)])
def test_the_script_of_a_job_is_one_process(monkeypatch: pytest.MonkeyPatch, step: str | None) -> None:
    start(monkeypatch, SRUN)
    if step is None:
        monkeypatch.delenv("SLURM_STEP_ID")
    else:
        monkeypatch.setenv("SLURM_STEP_ID", step)
    assert launched() == Launch()


def test_a_launch_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_id() is None
    assert not restarted()
    start(monkeypatch, TORCHRUN)
    assert launch_id() == "torchrun job"
    assert not restarted()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert restarted()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    first = launch_id()
    another = os.getppid() + 1
    monkeypatch.setattr("os.getppid", lambda: another)
    assert launch_id() not in (first, "torchrun none")


def test_a_job_put_back_in_line_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, SRUN)
    assert launch_id() == "slurm 4711"
    assert not restarted()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert restarted()


def test_the_command_to_type_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["nas/search.py", "+space=token_hybrid", "data.path=my corpus"])
    assert how_to_start(4).startswith("torchrun --nproc-per-node=4 ")
    assert how_to_start(4).endswith("+space=token_hybrid 'data.path=my corpus'")
    assert "--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=FIRST_MACHINE:29500" in how_to_start(4, 2)
