"""Training with sharded weights (PyTorch's fully_shard; Zhao et al. 2023, arXiv 2304.11277).

Each process holds its rows of each weight, gradient and optimiser state; the weights of a block are gathered when they
are needed. Checkpoints hold whole tensors, so that a run can be resumed with any number of processes and any strategy.
Lightning's own checkpoints do not work here, for two reasons: they number the optimiser's states in the order of the
model's parameters, not of our groups; and they load only if every parameter has a state, which routers lack before
routing begins.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from nas.distributed.launch import launched


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for a module that shards its model in ``configure_model``; see `shard`."""

    def __init__(self) -> None:
        super().__init__(data_parallel_size=launched().world, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return whole(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return whole((optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer).state_dict())

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        module = self.lightning_module
        assert module is not None
        ours = module.state_dict()
        given = {name: shared_out(value, ours.get(name)) for name, value in checkpoint["state_dict"].items()}
        module.load_state_dict(given, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            given = {
                number: {name: shared_out(value, parameters[number]) for name, value in values.items()}
                for number, values in state["state"].items()
            }
            optimizer.load_state_dict({"state": given, "param_groups": state["param_groups"]})


def shard(model: nn.Module, blocks: nn.ModuleList, mesh: DeviceMesh) -> None:
    """Shard each weight of ``model`` over the processes, to be gathered block by block."""
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with whole tensors on the CPU in the first process; an empty dict in the others."""
    first = launched().first

    def collected(tensor: Tensor) -> Tensor | None:
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return tensor.detach().cpu() if first else None

    found: dict[str, Any] = tree_map_only(Tensor, collected, state)
    return found if first else {}


def shared_out(value: Any, like: Tensor | None) -> Any:
    """Return this process's shard of a whole tensor, sharded as ``like`` of the same shape; other values unchanged."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.to_local().device), like.device_mesh, like.placements, src_data_rank=None)
