"""Commands in two processes of this machine, as torchrun and srun start them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from nas.runs.folder import Run
from nas.runs.history import history
from tests.nas.commands import ROOT, SEARCH, Ended
from tests.nas.distributed.starts import SRUN

OPTIONS = (
    *(option for option in SEARCH if not option.startswith(("budget.dense", "trainer.steps", "data.batch"))),
    *("trainer.steps=20", "trainer.validate_every=10", "trainer.checkpoint_every=5", "trainer.warmup_steps=5"),
    *("budget.dense_until=0.3", "budget.learnt_at=0", "data.batch_size=4"),
)
"""Twenty steps, of which routing begins after six."""


TROUBLE = """
import os, signal, nas.search
import nas.jobs.libraries  # as a command imports Lightning, which takes half the time
from nas.errors import UserError
from nas.distributed.launch import launched, restarted
from nas.training.module import TrainingModule
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
    assert [row["step"] for row in rows] == [row["step"] for row in others] == list(range(1, 21))
    assert rows[5]["share"] == 1
    assert rows[-1]["multiplier"] > 0
    assert rows[-1].keys() >= {"validation_recall", "validation_planted_recall"}
    for row, expected in zip(rows, others, strict=True):
        assert row == pytest.approx(expected, abs=within)


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
