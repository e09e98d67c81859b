"""How Lightning trains over several processes: what each keeps of the model, and who the others are.

``ddp``: every process keeps the whole model, and gradients are averaged. ``fsdp``: every process keeps its share of it;
see `nas.distributed.sharding`.
"""

from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from nas.config import TrainerConfig
from nas.distributed.devices import AUTO, precision_here
from nas.distributed.launch import Launch, how_to_start, launched
from nas.errors import UserError

STRATEGIES = (AUTO, "ddp", "fsdp")


def root_device(trainer: TrainerConfig) -> torch.device:
    """Where Lightning computes with these options."""
    made = lightning.Trainer(
        **engine(trainer),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return made.strategy.root_device


def engine(trainer: TrainerConfig) -> dict[str, Any]:
    """Where and how to compute, as arguments of Lightning's Trainer; UserError where processes are missing or left."""
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
        "plugins": [_environment(started)],
    }


def _check_started(trainer: TrainerConfig, started: Launch) -> None:
    """UserError where other processes were started than the options ask for."""
    devices, nodes = _count(trainer.devices), None if trainer.num_nodes == AUTO else trainer.num_nodes
    if started.by is None:
        if trainer.strategy == AUTO and (devices or 1) * (nodes or 1) <= 1:
            return
        given = [
            f"trainer.{option}={value}"
            for option, value in (("devices", trainer.devices), ("num_nodes", trainer.num_nodes))
            if value != AUTO
        ]
        asked = " and ".join([*given, *([] if trainer.strategy == AUTO else [f"trainer.strategy={trainer.strategy}"])])
        processes = devices or max(2, torch.cuda.device_count())
        raise UserError(
            f"{asked} needs a process for each device, and this is one on its own; type: "
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
            f"{started.by} started {started.world} processes on {started.nodes} machines; start as many on each."
        )


def _count(devices: Any) -> int | None:
    """How many devices an option asks for: a number, or a list of them as Lightning has it; None for auto."""
    if devices == AUTO:
        return None
    if isinstance(devices, str) and not devices.lstrip("-").isdigit():
        devices = [device for device in devices.split(",") if device.strip()]
    if isinstance(devices, list):
        return len(devices)
    return torch.cuda.device_count() if int(devices) == -1 else int(devices)


def _strategy(trainer: TrainerConfig, started: Launch) -> Strategy | str:
    if trainer.strategy == "fsdp":
        from nas.distributed.sharding import ShardedStrategy  # half a second of imports that others do without

        return ShardedStrategy()
    if trainer.strategy == "ddp" or started.world > 1:
        # Routers, and the branches that they choose, have no part in a step before routing begins.
        return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    return AUTO


def _environment(started: Launch) -> ClusterEnvironment:
    """Who Lightning's other processes are; by itself it takes a SLURM job's script for one of many."""
    if started.by == "torchrun":
        return TorchElasticEnvironment()
    if started.by == "srun":
        return SLURMEnvironment(auto_requeue=False)  # a run stops on SIGTERM, and goes on from its folder
    return LightningEnvironment()
