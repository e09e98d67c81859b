"""Training on stretches of sequences that several processes share: what it needs, and figures of whole sequences."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nas.config import RunConfig
from nas.data import Scored, Task
from nas.distributed.context.group import Context
from nas.errors import UserError
from nas.models.operations import in_order
from nas.models.operations.operation import Branch
from nas.search_spaces.architecture import Layer


def check_stretches(config: RunConfig, options: Sequence[Sequence[Layer]]) -> int:
    """Check that processes can share the sequences of a training, and return the grain of the lengths of sequences.

    Args:
        config: config of the run.
        options: options of each layer.

    Returns:
        Tokens of which every length must be a multiple, so that each process has whole chunks; 1 if none are shared.

    Raises:
        UserError: an operation or a length does not allow it.
    """
    sharing = config.trainer.context_parallel
    if sharing == 1:
        return 1
    layers = [layer for own in options for layer in own]
    for operation in in_order({name for layer in layers for name in layer.operations}):
        if not (isinstance(operation, Branch) and operation.across):
            raise UserError(
                f"trainer.context_parallel={sharing} shares a sequence between processes, which operation "
                f"{operation.name} does not support; give trainer.context_parallel=1, or layers without it."
            )
    grain = sharing * math.lcm(*(layer.chunk_size for layer in layers if layer.routed))
    for name in ("length", "min_length"):
        if (length := getattr(config.data, name, None)) is not None:
            check_length(f"data.{name}=", length, sharing, grain)
    return grain


def check_documents(config: RunConfig, task: Task) -> None:
    """Raise a UserError if processes are to share the sequences of a task with packed documents."""
    sharing = config.trainer.context_parallel
    if sharing > 1 and task.train_batch(0).documents is not None:
        raise UserError(
            f"trainer.context_parallel={sharing} shares a sequence between processes, but data={task.name} has packed "
            "documents, which are computed as whole sequences; give trainer.context_parallel=1, or other data."
        )


def check_length(given: str, length: int, sharing: int, grain: int) -> None:
    """Raise a UserError if a length is not a multiple of the grain; ``given`` precedes the length in the message."""
    if length % grain:
        above = -(-length // grain) * grain
        raise UserError(
            f"{given}{length} cannot be split into {sharing} stretches of whole chunks, which "
            f"trainer.context_parallel={sharing} needs; give a multiple of {grain}, such as {above}."
        )


def correct_sequences(context: Context, correct: Tensor, batch: Scored) -> Tensor:
    """Return whether all predictions of each sequence are correct, [B], in every process that shares them.

    Args:
        context: processes that share the sequences; all of them call this.
        correct: [n] whether each scored token of this stretch is predicted correctly.
        batch: this stretch of the sequences.
    """
    rows, length = batch.tokens.shape
    wrong = torch.zeros(rows, dtype=torch.int64, device=correct.device)
    places = torch.arange(rows * length, device=correct.device) if batch.places is None else batch.places
    wrong.index_add_(0, places // length, (~correct).long())
    torch.distributed.all_reduce(wrong, group=context.group)
    return wrong == 0
