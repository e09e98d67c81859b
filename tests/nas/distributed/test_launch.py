"""How a process was started, and what is refused where the options ask for another start."""

import errno
import os

import pytest
from lightning.fabric.utilities.rank_zero import _get_rank

from nas.distributed.launch import RANKS, Launch, apart, how_to_start, launch_id, launched, restarted, settle
from tests.nas.distributed.starts import SRUN, TORCHRUN, start


@pytest.mark.parametrize(("variables", "by"), [(TORCHRUN, "torchrun"), (SRUN, "srun")])
def test_several_processes_know_their_place(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], by: str
) -> None:
    start(monkeypatch, variables)
    assert launched() == Launch(by, rank=5, world=8, local=4, nodes=2, local_rank=1)
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


@pytest.mark.parametrize(
    "variables",
    [
        {"LOCAL_RANK": "3"},
        {"TORCHELASTIC_RUN_ID": "job"},
        {"JSM_NAMESPACE_RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "2"},
        TORCHRUN | {"RANK": ""},
        TORCHRUN | {"RANK": "one"},
        TORCHRUN | {"RANK": "8"},
        TORCHRUN | {"LOCAL_RANK": "one"},
        TORCHRUN | {"MASTER_ADDR": ""},
        {"SLURM_STEP_ID": "0"},
        dict.fromkeys(SRUN, ""),
        SRUN | {"SLURM_NTASKS": "0"},
        SRUN | {"SLURM_LOCALID": ""},
        SRUN | {"SLURM_PTY_PORT": "40123"},
    ],
    ids=lambda given: "_".join(f"{name}={value}" for name, value in given.items())[:60],
)
def test_variables_of_another_job_leave_a_single_process(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    start(monkeypatch, variables)
    monkeypatch.setattr("nas.distributed.launch._has_terminal", lambda: True)
    for name in RANKS:  # settle removes them; put back what was there
        monkeypatch.setenv(name, variables.get(name, ""))
    assert launched() == Launch()
    settle()
    assert not set(RANKS) & os.environ.keys()
    assert _get_rank() is None, "Lightning takes it for the first process"


def test_variables_of_another_launcher_do_not_hide_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, SRUN | {"LOCAL_RANK": "0", "RANK": "0"})
    settle()
    assert launched() == Launch("srun", rank=5, world=8, local=4, nodes=2, local_rank=1)
    assert _get_rank() == 5


def test_srun_in_a_shell_of_srun_starts_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, SRUN | {"SLURM_PTY_PORT": "40123"})
    monkeypatch.setattr("os.open", _no_terminal)
    assert launched().world == 8
    monkeypatch.setattr("os.open", lambda path, flags: os.dup(0))
    assert launched() == Launch()


def _no_terminal(path: str, flags: int) -> int:
    raise OSError(errno.ENXIO, "No such device or address", path)


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
