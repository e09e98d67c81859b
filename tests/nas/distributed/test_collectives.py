"""Training over several processes: what one process would have computed, said once, in one run folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from nas.data import Batch
from nas.distributed.collectives import check_batch_size, own_share
from nas.errors import UserError
from nas.runs.folder import Run
from nas.runs.history import history
from tests.nas.commands import ROOT, SEARCH, Ended, contents, nas
from tests.nas.distributed.test_launch import SRUN, TORCHRUN, start

OPTIONS = (
    *(option for option in SEARCH if not option.startswith(("budget.dense", "trainer.steps", "data.batch"))),
    *("trainer.steps=50", "trainer.validate_every=25", "trainer.checkpoint_every=5", "trainer.warmup_steps=5"),
    *("budget.dense_until=0.3", "budget.learnt_at=0", "data.batch_size=4"),
)
"""Fifty steps, of which routing begins after fifteen."""
TROUBLE = """
import os, signal, nas.search
from nas.errors import UserError
from nas.launch import launched, restarted
from nas.module import TrainingModule
training_step = TrainingModule.training_step
def troubled(self, batch, index):
    if self.global_step == {step} and launched().rank == {rank} and not restarted():
        {trouble}
    return training_step(self, batch, index)
TrainingModule.training_step = troubled
nas.search.main()
"""
ALONE_WITH_A_CORE = {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


class Processes(NamedTuple):
    """What two processes left: how torchrun ended and what the first printed, and what the second printed."""

    ended: Ended
    second: str


def torchrun(logs: Path, *arguments: str) -> Processes:
    """Run a command in two processes on this machine."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--redirects=1:3"]
    environment = os.environ | ALONE_WITH_A_CORE
    done = subprocess.run(
        [*torchrun, f"--log-dir={logs}", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    second = "".join(log.read_text() for log in logs.glob("*/attempt_*/1/*.log"))
    return Processes(Ended(done.returncode, done.stdout, done.stderr), second)


def troubled(folder: Path, step: int, rank: int, trouble: str) -> str:
    """A script: the search with trouble in it."""
    script = folder / "trouble.py"
    script.write_text(TROUBLE.format(step=step, rank=rank, trouble=trouble))
    return str(script)


def in_trouble(folder: Path, step: int, rank: int, trouble: str, *options: str, restarts: int = 0) -> Processes:
    """A search in two processes of which one gets into trouble at a step, the first time that it comes there."""
    search = (troubled(folder, step, rank, trouble), *OPTIONS, *options, f"output={folder}")
    return torchrun(folder / "logs", f"--max-restarts={restarts}", *search)


def searched(output: Path) -> Path:
    """The one run folder of a search."""
    (run,) = (output / "search").iterdir()
    return run


def trained_alike(run: Path, other: Path, within: float) -> None:
    """Two runs logged the same figures, and routing began in both."""
    rows, others = history(Run(run)), history(Run(other))
    assert [row["step"] for row in rows] == [row["step"] for row in others] == list(range(1, 51))
    assert rows[14]["share"] == 1
    assert rows[-1]["multiplier"] > 0
    assert rows[-1].keys() >= {"validation_recall", "validation_planted_recall"}
    for row, expected in zip(rows, others, strict=True):
        assert row == pytest.approx(expected, abs=within)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    """A search in two processes that went well."""
    folder = tmp_path_factory.mktemp("two")
    made = torchrun(folder / "logs", "-m", "nas.search", *OPTIONS, f"output={folder / 'outputs'}")
    assert made.ended.status == 0, made.ended.err
    assert searched(folder / "outputs") == made.ended.run
    return made


def test_two_processes_train_as_one(two: Processes, tmp_path: Path) -> None:
    alone = nas("search", *OPTIONS, f"output={tmp_path}")
    trained_alike(two.ended.run, alone.run, within=1e-5)
    found, expected = (json.loads((run / "metrics.json").read_text()) for run in (two.ended.run, alone.run))
    for routing, figures in expected["routings"].items():
        assert found["routings"][routing]["1x"]["loss"] == pytest.approx(figures["1x"]["loss"], abs=1e-5), routing
    assert found["cost"] == expected["cost"]
    assert contents(two.ended.run).keys() >= {"config.yaml", "architecture.json", "model.safetensors", "report.html"}


def test_two_processes_speak_with_one_voice(two: Processes) -> None:
    assert two.second == ""
    for said in ("run folder", "step 25 of 50", "step 50 of 50", "tokens a second", "report.html"):
        assert two.ended.out.count(said) == 1, said
    assert "Warning" not in two.ended.err


def test_a_killed_process_ends_all_and_the_run_can_be_resumed(two: Processes, tmp_path: Path) -> None:
    killed = in_trouble(tmp_path, 33, 1, KILLED)
    assert killed.ended.status == 1
    assert killed.ended.err.count("error: another process of this run is gone without a word") == 1
    run = searched(tmp_path)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step=000000030.ckpt"]
    copy = shutil.copytree(run, tmp_path / "copy")
    resumed = torchrun(tmp_path / "again", "-m", "nas.search", *OPTIONS, f"resume={run}")
    assert resumed.ended.status == 0, resumed.ended.err
    assert "Going on from step 30: 20 steps are left to train." in resumed.ended.out
    assert contents(run)["model.safetensors"] == contents(two.ended.run)["model.safetensors"]
    trained_alike(run, two.ended.run, within=0)
    assert nas("search", f"resume={copy}").status == 0
    trained_alike(copy, two.ended.run, within=1e-5)


def test_sharded_weights_and_sampled_routes_train_as_one_and_go_on_when_torchrun_starts_them_again(
    tmp_path: Path,
) -> None:
    restarted = in_trouble(tmp_path, 12, 0, KILLED, "trainer=fsdp", "relaxation=gumbel", restarts=1)
    assert restarted.ended.status == 0, restarted.ended.err
    assert "Going on from step 10: 40 steps are left to train." in restarted.ended.out
    alone = nas("search", *OPTIONS, "relaxation=gumbel", f"output={tmp_path / 'alone'}")
    trained_alike(searched(tmp_path), alone.run, within=1e-5)


def test_a_failure_of_one_process_is_told_once_and_ends_all(tmp_path: Path) -> None:
    failed = in_trouble(tmp_path, 3, 1, 'raise UserError("nothing fits")')
    assert failed.ended.status == 1
    assert "error: process 1 of 2, on " in failed.second
    assert failed.second.endswith(": nothing fits\n")
    assert "error: " not in failed.ended.err
    assert failed.ended.err.count("exitcode  : 1 ") == 2


def as_by_srun(rank: int, *arguments: str) -> "subprocess.Popen[str]":
    """Start one of two processes with what srun would tell it."""
    place = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0", "SLURM_NNODES": "1"}
    job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODELIST": "localhost"}
    job |= {"SLURM_JOB_ID": str(os.getpid())}  # from which Lightning makes the port
    environment = os.environ | ALONE_WITH_A_CORE | SRUN | place | job
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def test_a_signal_to_one_process_of_a_job_stops_all_after_the_same_step(tmp_path: Path) -> None:
    script = troubled(tmp_path, 6, 1, "os.kill(os.getpid(), signal.SIGTERM)")
    processes = [as_by_srun(rank, script, *OPTIONS, f"output={tmp_path}") for rank in range(2)]
    (out, _), (second, _) = (process.communicate() for process in processes)
    assert [process.returncode for process in processes] == [130, 130]
    assert "Stopped at step 7 of 50; what was learnt is saved." in out
    assert second == ""
    run = searched(tmp_path)
    assert json.loads((run / "metrics.json").read_text())["finished"] is False
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step=000000007.ckpt"]


def test_a_batch_that_cannot_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, TORCHRUN)
    check_batch_size(16)
    with pytest.raises(UserError, match=r"data.batch_size=20 .* over 8 of them; give 24, or start 5."):
        check_batch_size(20)


@pytest.mark.parametrize(("size", "own"), [(16, slice(10, 12)), (12, slice(0, 12))], ids=["split", "whole"])
def test_validation_is_split_where_it_can_be(monkeypatch: pytest.MonkeyPatch, size: int, own: slice) -> None:
    start(monkeypatch, TORCHRUN)
    tokens = torch.arange(size)[:, None]
    ((part, targets, planted),) = own_share([Batch(tokens, -tokens, None)])
    assert torch.equal(part, tokens[own])
    assert torch.equal(targets, -tokens[own])
    assert planted is None


MEANS = """
import json, torch
from nas.distributed import average_over, averages, over_all_rows, part_of_mean
from nas.data import IGNORE, Batch
from nas.meeting import FailedElsewhere, connect, from_first, tell_of_failure, together
from nas.launch import launched
connect()
torch.distributed.init_process_group("gloo")
rank = launched().rank
weight = torch.ones((), requires_grad=True)
values = weight * [torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0])][rank]
part = part_of_mean(values)
part.backward()
targets = [torch.tensor([[1, IGNORE, IGNORE]]), torch.tensor([[1, 1, 1]])][rank]
torch.manual_seed(0)
found = {
    "figures": [x.item() for x in averages({"mean": part, "gradient": weight.grad}).values()],
    "validation": average_over([Batch(targets, targets, None)], [8.0, 4.0][rank], torch.device("cpu")),
    "drawn": over_all_rows(lambda rows: rows + torch.rand_like(rows), torch.zeros(2, 3)).tolist(),
    "agreed": from_first(lambda: rank + 10),
}
together()
told = tell_of_failure(7) if rank == 0 else None
try:
    from_first(lambda: None) if rank else None
except FailedElsewhere as error:
    told = error.status
print(json.dumps(found | {"told": told}))
"""


def test_figures_of_processes_with_unequal_parts(tmp_path: Path) -> None:
    script = tmp_path / "means.py"
    script.write_text(MEANS)
    ended = torchrun(tmp_path / "logs", str(script))
    assert ended.ended.status == 0, ended.ended.err
    first, second = json.loads(ended.ended.out), json.loads(ended.second)
    torch.manual_seed(0)
    drawn = torch.rand(4, 3)
    for found, rows in ((first, drawn[:2]), (second, drawn[2:])):
        assert found["figures"] == [4.0, 4.0]
        assert found["validation"] == 5.0
        assert found["agreed"] == 10
        assert torch.equal(torch.tensor(found["drawn"]), rows)
    assert first["told"] is None
    assert second["told"] == 7
