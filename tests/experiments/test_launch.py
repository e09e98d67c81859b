"""The launch scripts, with replacements of torchrun, srun and scontrol that record their arguments."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.nas.commands import ROOT

SCRIPTS = ROOT / "experiments" / "launch"
COMMAND = ("nas.search", "+space=token_hybrid", "data.path=my corpus")


def called(script: str, folder: Path, status: int = 0, **variables: str) -> tuple[int, list[list[str]]]:
    """Run a script; returns its exit status and the words of each called command; the commands exit with ``status``."""
    log = folder / "called"
    for name in ("torchrun", "srun", "scontrol"):
        ends = 0 if name == "scontrol" else status
        (folder / name).write_text(f'#!/bin/sh\nprintf "%s|" {name} "$@" >> {log}\necho >> {log}\nexit {ends}\n')
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    done = subprocess.run(["bash", str(SCRIPTS / script), *COMMAND], env=environment, check=False)
    lines = log.read_text().splitlines() if log.exists() else []
    return done.returncode, [line.split("|")[:-1] for line in lines]


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, ["--nproc-per-node=gpu", "--max-restarts=0"]),
        ({"PROCESSES": "2", "RESTARTS": "3"}, ["--nproc-per-node=2", "--max-restarts=3"]),
    ],
)
def test_one_machine(tmp_path: Path, variables: dict[str, str], options: list[str]) -> None:
    expected = ["torchrun", "--standalone", *options, "-m", *COMMAND]
    assert called("one_machine.sh", tmp_path, **variables) == (0, [expected])


def test_several_machines(tmp_path: Path) -> None:
    status, ((name, *words),) = called("several_machines.sh", tmp_path, MACHINES="2", FIRST="node0", RUN_ID="a")
    assert status == 0
    assert name == "torchrun"
    assert {"--nnodes=2", "--rdzv-endpoint=node0:29500", "--rdzv-id=a"} < set(words)
    assert words[-4:] == ["-m", *COMMAND]


def test_several_machines_that_are_not_named(tmp_path: Path) -> None:
    assert called("several_machines.sh", tmp_path) == (1, [])


@pytest.mark.parametrize("status", [0, 1, 130])
def test_a_stopped_job_is_requeued(tmp_path: Path, status: int) -> None:
    srun = ["srun", "--kill-on-bad-exit=1", "python", "-m", *COMMAND]
    again = [["scontrol", "requeue", "4711"]] if status == 130 else []
    assert called("train.sbatch", tmp_path, status, SLURM_JOB_ID="4711") == (status, [srun, *again])
