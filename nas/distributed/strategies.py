"""Lightning's strategy, devices and environment for training over several processes.

``ddp``: every process holds the whole model, and gradients are averaged; see `nas.distributed.replicas`. ``fsdp``:
every process holds a shard of each weight; see `nas.distributed.sharding`.
"""

import os
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import Strategy

from nas.config import TrainerConfig
from nas.distributed.checkpoint_io import LocalCheckpointIO
from nas.distributed.devices import AUTO, precision_here
from nas.distributed.launch import Launch, how_to_start, launched
from nas.distributed.replicas import AveragingStrategy, OverlappingStrategy, averages_afterwards
from nas.errors import UserError

STRATEGIES = (AUTO, "ddp", "fsdp")


def root_device(trainer: TrainerConfig) -> torch.device:
    """Return the device on which Lightning computes with these options."""
    made = lightning.Trainer(
        **engine(trainer),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return made.strategy.root_device


def engine(trainer: TrainerConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer for devices, strategy and precision.

    Raises:
        UserError: an option is unknown, or the number of processes differs from the options.
    """
    started = launched()
    if trainer.strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={trainer.strategy} is unknown; choose one of: {', '.join(STRATEGIES)}.")
    if trainer.num_nodes != AUTO and not (isinstance(trainer.num_nodes, int) and trainer.num_nodes >= 1):
        raise UserError(f"trainer.num_nodes={trainer.num_nodes} is not allowed; give auto, or a number of machines.")
    _check_started(trainer, started)
    return {
        "accelerator": trainer.accelerator,
        "devices": started.local if trainer.devices == AUTO else trainer.devices,
        "num_nodes": started.nodes,
        "precision": precision_here(trainer),
        "strategy": _strategy(trainer, started),
        "plugins": [Environment(started), LocalCheckpointIO()],
    }


def _check_started(trainer: TrainerConfig, started: Launch) -> None:
    """Raise a UserError if the number of processes or machines differs from the options."""
    devices, nodes = _count(trainer.devices), None if trainer.num_nodes == AUTO else trainer.num_nodes
    if started.by is None:
        if trainer.strategy == AUTO and (devices or 1) * (nodes or 1) <= 1:
            return
        given = [
            f"trainer.{option}={value}"
            for option, value in (("devices", trainer.devices), ("num_nodes", trainer.num_nodes))
            if value != AUTO
        ]
        wanted_by = " and ".join(
            [*given, *([] if trainer.strategy == AUTO else [f"trainer.strategy={trainer.strategy}"])]
        )
        processes = devices or max(2, torch.cuda.device_count())
        raise UserError(
            f"{wanted_by} needs a process for each device, but this is a single process; run: "
            f"{how_to_start(processes, nodes or 1)} (or srun under SLURM)."
        )
    for option, wanted, there, advice in (
        ("devices", devices, started.local, "on each machine"),
        ("num_nodes", nodes, started.nodes, "machines"),
    ):
        if wanted not in (None, there):
            value = getattr(trainer, option)
            raise UserError(
                f"trainer.{option}={value}, but {started.by} started {started.world} processes, {started.local} on "
                f"each of {started.nodes} machines; give trainer.{option}={there} or auto, or start {wanted} {advice}."
            )
    if started.local * started.nodes != started.world:
        raise UserError(
            f"{started.by} started {started.world} processes on {started.nodes} machines; start equally many on each."
        )


def _count(devices: Any) -> int | None:
    """Return the number of devices of an option that is a number or a list in Lightning's syntax; None for auto."""
    if devices == AUTO:
        return None
    if isinstance(devices, str) and not devices.lstrip("-").isdigit():
        devices = [device for device in devices.split(",") if device.strip()]
    if isinstance(devices, list):
        return len(devices)
    return torch.cuda.device_count() if int(devices) == -1 else int(devices)


def _strategy(trainer: TrainerConfig, started: Launch) -> Strategy | str:
    if trainer.strategy == "fsdp":
        from nas.distributed.sharding import ShardedStrategy  # its imports take half a second

        return ShardedStrategy()
    if averages_afterwards(trainer):
        return AveragingStrategy()
    if trainer.strategy == "ddp" or started.world > 1:
        return OverlappingStrategy()
    return AUTO


class Environment(ClusterEnvironment):
    """Tells Lightning how this process was started, so that its own environments do not read other variables.

    Args:
        started: how this process was started.
    """

    def __init__(self, started: Launch) -> None:
        self._started = started

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        return False  # it is given, never detected

    def world_size(self) -> int:
        return self._started.world

    def set_world_size(self, size: int) -> None:
        pass  # the launcher has set it

    def global_rank(self) -> int:
        return self._started.rank

    def set_global_rank(self, rank: int) -> None:
        pass  # the launcher has set it

    def local_rank(self) -> int:
        return self._started.local_rank

    def node_rank(self) -> int:
        return self._started.rank // self._started.local
