"""Which of the processes of a run this is, as torchrun or SLURM's srun tell it. Nothing here imports torch.

One process is the rule. Several are started from outside, by torchrun or srun: Lightning's own launcher would run the
command line again, with Hydra's multirun in it (lightning#11300).
"""

import os
import shlex
import socket
import sys
from typing import NamedTuple

STARTED_BY_PEERS = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_STEP_ID", "SLURM_PROCID")
"""What tells a process, or Lightning in it, that it is one of several."""
FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""SLURM's numbers from here on are no steps of srun but the batch script and the like."""


class Launch(NamedTuple):
    """How this process was started.

    Attributes:
        by: "torchrun" or "srun"; None for a process on its own.
        rank: its number among all.
        world: how many there are.
        local: how many of them are on each machine.
        nodes: how many machines.
    """

    by: str | None = None
    rank: int = 0
    world: int = 1
    local: int = 1
    nodes: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0


def launched() -> Launch:
    """How this process was started."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Launch("torchrun", _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE"), _nodes())
    if 0 <= int(os.environ.get("SLURM_STEP_ID", -1)) < FIRST_SPECIAL_STEP:
        world, nodes = _number("SLURM_NTASKS"), _number("SLURM_NNODES")
        return Launch("srun", _number("SLURM_PROCID"), world, -(-world // nodes), nodes)
    return Launch()


def apart() -> None:
    """From here on this process is on its own, however many were started beside it: for workers that share a study."""
    for name in STARTED_BY_PEERS:
        os.environ.pop(name, None)


def launch_id() -> str | None:
    """What the processes of a launch have in common, also when they are started again; None on one's own."""
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"slurm {job}"
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    if run == "none":  # torchrun without --standalone or --rdzv-id: known by its own process
        return f"torchrun {socket.gethostname()} {os.getppid()}"
    return run and f"torchrun {run}"


def restarted() -> bool:
    """Whether torchrun or SLURM has started this launch before: after a failure, or when a job was put back in line."""
    return any(int(os.environ.get(name, 0)) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def how_to_start(processes: int, nodes: int = 1) -> str:
    """This command line over several processes, as a user could type it."""
    over = "" if nodes == 1 else f" --nnodes={nodes} --rdzv-backend=c10d --rdzv-endpoint=FIRST_MACHINE:29500"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    command = ["-m", spec.name] if spec else [sys.argv[0]]
    return f"torchrun{over} --nproc-per-node={processes} {shlex.join([*command, *sys.argv[1:]])}"


def _number(name: str) -> int:
    return int(os.environ[name])


def _nodes() -> int:
    return int(os.environ.get("GROUP_WORLD_SIZE", 1))
