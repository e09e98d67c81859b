"""Which devices and processes a training has, and what is refused."""

from pathlib import Path

import pytest

from nas.config import TrainerConfig
from nas.distributed.launch import launched
from nas.distributed.strategies import Environment, engine
from nas.errors import UserError
from tests.nas.commands import SEARCH, composed, refusal
from tests.nas.distributed.starts import SRUN, TORCHRUN, start


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
    with pytest.raises(UserError, match="7 processes on 2 machines; start equally many on each"):
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


@pytest.mark.parametrize(
    "variables",
    [TORCHRUN, {name: value for name, value in SRUN.items() if name not in ("SLURM_NTASKS_PER_NODE", "SLURM_NODEID")}],
    ids=["torchrun", "srun without --ntasks-per-node"],
)
def test_lightning_is_told_which_process_this_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    trainer: TrainerConfig = composed("search", *SEARCH).trainer
    start(monkeypatch, variables | {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"})
    environment = engine(trainer)["plugins"][0]
    monkeypatch.setenv("LOCAL_RANK", "7")  # too late: it has been decided
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (5, 1, 1)
    assert (environment.world_size(), environment.main_address, environment.main_port) == (8, "localhost", 29500)
    environment.validate_settings(num_devices=4, num_nodes=2)


def test_a_single_process_is_the_first_whatever_single_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, {"LOCAL_RANK": "3", "SLURM_PROCID": "2", "NODE_RANK": "1"})
    environment = Environment(launched())
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (0, 0, 0)
