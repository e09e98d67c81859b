"""Strategies in which every process holds the whole model, and gradients are averaged.

DDP exchanges gradients by hooks during the backward pass, so that both overlap. Hooks do not run when a recorded step
is replayed: with CUDA graphs gradients are exchanged after the backward pass.
"""

from collections.abc import Iterable

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.config import TrainerConfig
from nas.distributed.devices import AUTO
from nas.distributed.launch import launched

BUCKET = 2**26
"""Bytes of gradients that are exchanged at once, which are copied for it."""


def averages_afterwards(trainer: TrainerConfig) -> bool:
    """Return whether gradients are exchanged after the backward pass: if steps are to be recorded.

    Micro-batches and shared sequences are not recorded.
    """
    if launched().world == 1 or trainer.strategy not in (AUTO, "ddp"):
        return False
    return trainer.cuda_graphs is True and trainer.accumulate == trainer.context_parallel == 1


class OverlappingStrategy(DDPStrategy):
    """DDP, whose gradients are exchanged during the backward pass."""

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        """Wrap the model on the stream that trains it; Lightning takes another, for which gradients would wait."""
        return DistributedDataParallel(
            model,
            device_ids=self.determine_ddp_device_ids(),
            broadcast_buffers=False,
            find_unused_parameters=True,  # routers and unused branches get no gradient before routing begins
            gradient_as_bucket_view=True,  # which saves a copy
        )


class AveragingStrategy(DDPStrategy):
    """Exchanges nothing by itself: `average_gradients` has to be called after each backward pass."""

    def configure_ddp(self) -> None:
        """Give all processes the weights of the first."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            torch.distributed.broadcast(tensor.detach(), 0)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients by their averages over all processes, in place.

    Args:
        parameters: parameters of the model. The same ones must have gradients in all processes.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket]).div_(launched().world)
        torch.distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in bucket])
        torch._foreach_copy_(bucket, [part.view_as(gradient) for part, gradient in zip(parts, bucket, strict=True)])


def _buckets(gradients: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group tensors of one type into buckets of about `BUCKET` bytes."""
    buckets: list[list[Tensor]] = []
    size = 0
    for gradient in gradients:
        if not buckets or size + gradient.nbytes > BUCKET or gradient.dtype != buckets[-1][0].dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(gradient)
        size += gradient.nbytes
    return buckets
