"""How far a training got and how fast it was."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingRecord:
    """Facts of a training that has ended.

    Attributes:
        finished: whether it reached its last step.
        step: at which it ended.
        steps: its last step.
        seconds: wall time, over all processes that took part in turn.
        tokens: that it was trained on, over all processes.
        tokens_per_second: over all processes; None where it was not measured.
        peak_flops: FLOPs per second of all devices at their peak; None where that is not known.
    """

    finished: bool
    step: int
    steps: int
    seconds: float
    tokens: int
    tokens_per_second: float | None
    peak_flops: float | None
