"""Rank of this process and number of processes, from the variables of torchrun or SLURM's srun.

Nothing here imports torch. By default a run has one process. Only torchrun or srun starts several: Lightning's own
launcher would execute the command line again, including Hydra's multirun (lightning#11300).
"""

import os
import shlex
import socket
import sys
from typing import NamedTuple

TORCHRUN = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""Variables that torchrun sets in every process, beside those of `STORE`."""
STORE = ("MASTER_ADDR", "MASTER_PORT")
"""Variables with the address and the port at which processes connect. Under srun they may be set by hand."""
SRUN = ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NNODES")
"""Variables that srun sets in every process."""
RANKS = (*TORCHRUN, "SLURM_STEP_ID", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables by which this package and Lightning detect that a process is one of several."""
FIRST_SPECIAL_STEP = 0xFFFFFFF0
"""First step number that SLURM uses for batch scripts and the like, not for steps of srun."""
TERMINAL = "SLURM_PTY_PORT"
"""Variable that ``srun --pty`` sets. Its step is a shell, which starts one process, whatever number of tasks it has.

An srun in such a shell passes the variable on to its processes, but not the terminal.
"""


class Launch(NamedTuple):
    """How this process was started.

    Attributes:
        by: "torchrun" or "srun"; None for a single process.
        rank: rank of this process, in [0, world).
        world: number of processes.
        local: number of processes on each machine.
        nodes: number of machines.
        local_rank: rank of this process among those of its machine, in [0, local).
    """

    by: str | None = None
    rank: int = 0
    world: int = 1
    local: int = 1
    nodes: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process of rank 0, which writes and prints."""
        return self.rank == 0


def launched() -> Launch:
    """Return how this process was started.

    A process is one of several only if every variable of its launcher is there and they agree. Single variables may
    come from another job, or from a shell.
    """
    return _by_torchrun() or _by_srun() or Launch()


def _by_torchrun() -> Launch | None:
    rank, local_rank, world, local = (_number(name) for name in TORCHRUN[1:])
    if not all(os.environ.get(name) for name in (*TORCHRUN, *STORE)) or rank is None or local_rank is None:
        return None
    if not world or not local or rank >= world:
        return None
    return Launch("torchrun", rank, world, local, _number("GROUP_WORLD_SIZE") or 1, local_rank)


def _by_srun() -> Launch | None:
    step, rank, local_rank, world, nodes = (_number(name) for name in SRUN)
    if step is None or rank is None or local_rank is None or not world or not nodes:
        return None
    if step >= FIRST_SPECIAL_STEP or rank >= world or (TERMINAL in os.environ and _has_terminal()):
        return None
    return Launch("srun", rank, world, -(-world // nodes), nodes, local_rank)


def _has_terminal() -> bool:
    """Return whether a terminal controls this process, even if its input and output are redirected."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def settle() -> None:
    """Remove variables of launchers that did not start this process, since Lightning and TensorBoard read them too."""
    started = launched()
    if started.by is None:
        apart()
    elif started.by == "srun":
        for name in (*TORCHRUN, "JSM_NAMESPACE_RANK"):
            os.environ.pop(name, None)


def apart() -> None:
    """Make this process a single process from here on: workers that share a study are separate runs."""
    for name in RANKS:
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
    return any(_number(name) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def how_to_start(processes: int, nodes: int = 1) -> str:
    """Return the command that runs this command line over several processes."""
    over = "" if nodes == 1 else f" --nnodes={nodes} --rdzv-backend=c10d --rdzv-endpoint=FIRST_MACHINE:29500"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    command = ["-m", spec.name] if spec else [sys.argv[0]]
    return f"torchrun{over} --nproc-per-node={processes} {shlex.join([*command, *sys.argv[1:]])}"


def _number(name: str) -> int | None:
    """Return the number in a variable; None if there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
