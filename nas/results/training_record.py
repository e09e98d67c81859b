"""Steps, tokens, speed and curves of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingRecord:
    """Steps, tokens, speed and curves of a training that has ended.

    Attributes:
        finished: whether nothing is left to train: the training reached its last step or diverged.
        diverged_at: step at which the loss or a weight was not a finite number; None if that did not happen.
        step: step at which the training ended.
        steps: number of steps of a complete training.
        seconds: wall time, summed over the first start and every resumption.
        tokens: training tokens, over all processes.
        tokens_per_second: throughput over all processes; None if it was not measured.
        softmax_share: mean softmax share over the logged steps; None if it was not logged.
        peak_flops: peak FLOPs per second of all devices together; None if it is not known.
        logged: figures of the logged steps, see `nas.runs.history.history`.
    """

    finished: bool
    diverged_at: int | None
    step: int
    steps: int
    seconds: float
    tokens: int
    tokens_per_second: float | None
    softmax_share: float | None
    peak_flops: float | None
    logged: Sequence[Mapping[str, float]] = ()
