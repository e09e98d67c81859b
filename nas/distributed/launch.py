"""Rank of this process and number of processes, from the variables of torchrun or SLURM's srun.

Nothing here imports torch. By default a run has one process. Only torchrun or srun starts several: Lightning's own
launcher would execute the command line again, including Hydra's multirun (lightning#11300).
"""

import os
import shlex
import socket
import sys
from typing import NamedTuple

STARTED_BY_PEERS = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_STEP_ID", "SLURM_PROCID")
"""Variables by which this package and Lightning detect that a process is one of several."""
FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""First step number that SLURM uses for batch scripts and the like, not for steps of srun."""


class Launch(NamedTuple):
    """How this process was started.

    Attributes:
        by: "torchrun" or "srun"; None for a single process.
        rank: rank of this process, in [0, world).
        world: number of processes.
        local: number of processes on each machine.
        nodes: number of machines.
    """

    by: str | None = None
    rank: int = 0
    world: int = 1
    local: int = 1
    nodes: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process of rank 0, which writes and prints."""
        return self.rank == 0


def launched() -> Launch:
    """Return how this process was started."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Launch("torchrun", _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE"), _nodes())
    if 0 <= int(os.environ.get("SLURM_STEP_ID", -1)) < FIRST_SPECIAL_STEP:
        world, nodes = _number("SLURM_NTASKS"), _number("SLURM_NNODES")
        return Launch("srun", _number("SLURM_PROCID"), world, -(-world // nodes), nodes)
    return Launch()


def apart() -> None:
    """Make this process a single process from here on: workers that share a study are separate runs."""
    for name in STARTED_BY_PEERS:
        os.environ.pop(name, None)


def launch_id() -> str | None:
    """Return an id that all processes of a launch share, even after a restart; None for a single process."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"slurm {job}"
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    if run == "none":  # torchrun without --standalone or --rdzv-id: use the id of its process
        return f"torchrun {socket.gethostname()} {os.getppid()}"
    return run and f"torchrun {run}"


def restarted() -> bool:
    """Return whether torchrun or SLURM restarted this launch, after a failure or after a job was requeued."""
    return any(int(os.environ.get(name, 0)) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def how_to_start(processes: int, nodes: int = 1) -> str:
    """Return the command that runs this command line over several processes."""
    over = "" if nodes == 1 else f" --nnodes={nodes} --rdzv-backend=c10d --rdzv-endpoint=FIRST_MACHINE:29500"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    command = ["-m", spec.name] if spec else [sys.argv[0]]
    return f"torchrun{over} --nproc-per-node={processes} {shlex.join([*command, *sys.argv[1:]])}"


def _number(name: str) -> int:
    return int(os.environ[name])


def _nodes() -> int:
    return int(os.environ.get("GROUP_WORLD_SIZE", 1))
