"""How a process was started, and what is refused where the options ask for another start."""

import os
from pathlib import Path

import pytest

from nas.config import TrainerConfig
from nas.distributed.launch import Launch, apart, how_to_start, launch_id, launched, restarted
from nas.distributed.strategies import engine
from nas.errors import UserError
from tests.nas.commands import SEARCH, composed, refusal

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "job",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_WORLD_SIZE": "2",
}
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NNODES": "2",
}


def start(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


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


@pytest.mark.parametrize(
    ("options", "given", "advice"),
    [
        (("trainer=ddp",), "trainer.strategy=ddp needs a process for each device", "torchrun --nproc-per-node=2 "),
        (("trainer=fsdp",), "trainer.strategy=fsdp", "torchrun --nproc-per-node=2 "),
        (("trainer.devices=4",), "trainer.devices=4", "torchrun --nproc-per-node=4 "),
        (("trainer.devices=[0,1,2]",), "trainer.devices=[0, 1, 2]", "torchrun --nproc-per-node=3 "),
        (
            ("trainer.devices=8", "trainer.num_nodes=2"),
            "trainer.devices=8 and trainer.num_nodes=2",
            "torchrun --nnodes=2",
        ),
        (("trainer.num_nodes=some",), "trainer.num_nodes=some", "give auto, or a number of machines"),
        (("trainer.strategy=dp",), "trainer.strategy=dp is unknown", "choose one of: auto, ddp, fsdp."),
    ],
    ids=str,
)
def test_several_devices_on_ones_own(tmp_path: Path, options: tuple[str, ...], given: str, advice: str) -> None:
    message = refusal("search", *SEARCH, *options, f"output={tmp_path / 'outputs'}")
    assert given in message
    assert advice in message
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("trainer.devices=1", "trainer.devices=1, but torchrun started 8 processes, 4 on each of 2 machines"),
        ("trainer.num_nodes=3", "give trainer.num_nodes=2 or auto, or start 3 machines"),
    ],
)
def test_other_processes_than_asked_for(monkeypatch: pytest.MonkeyPatch, option: str, told: str) -> None:
    start(monkeypatch, TORCHRUN)
    with pytest.raises(UserError, match=told):
        engine(composed("search", *SEARCH, option).trainer)


def test_processes_spread_unevenly(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, TORCHRUN | {"WORLD_SIZE": "7"})
    with pytest.raises(UserError, match="7 processes on 2 machines; start as many on each"):
        engine(composed("search", *SEARCH).trainer)


@pytest.mark.parametrize(
    ("variables", "devices"), [({}, 1), (TORCHRUN, 4), (SRUN, 4)], ids=["alone", "torchrun", "srun"]
)
def test_as_many_devices_as_processes(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int) -> None:
    trainer: TrainerConfig = composed("search", *SEARCH).trainer
    start(monkeypatch, variables)
    found = engine(trainer)
    assert found["devices"] == devices
    assert found["num_nodes"] == (2 if variables else 1)
    assert (found["strategy"] == "auto") == (not variables)
