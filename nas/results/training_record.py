"""Steps, tokens and speed of a training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingRecord:
    """Steps, tokens and speed of a training that has ended.

    Attributes:
        finished: whether the training reached its last step.
        step: step at which the training ended.
        steps: number of steps of a complete training.
        seconds: wall time, summed over the first start and every resumption.
        tokens: training tokens, over all processes.
        tokens_per_second: throughput over all processes; None if it was not measured.
        peak_flops: peak FLOPs per second of all devices together; None if it is not known.
    """

    finished: bool
    step: int
    steps: int
    seconds: float
    tokens: int
    tokens_per_second: float | None
    peak_flops: float | None
