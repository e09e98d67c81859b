"""Events that a worker reports about its jobs; plain values, so that they can be sent between processes."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Began:
    """A job has begun.

    Attributes:
        job: number of the job, from 0.
        values: the values of the job's options, as text.
    """

    job: int
    values: str


@dataclass(frozen=True)
class Stepped:
    """A training step of a job is done.

    Attributes:
        job: number of the job, from 0.
        step: number of the step.
        steps: number of steps in all.
        figures: loss and other figures of the step, as text; empty if they were not read.
    """

    job: int
    step: int
    steps: int
    figures: str = ""


@dataclass(frozen=True)
class Ended:
    """A job has ended.

    Attributes:
        job: number of the job, from 0.
        outcome: figures of the job, or how it failed, as text.
        finished: number of jobs that have ended.
        best: the best job so far, as text.
    """

    job: int
    outcome: str
    finished: int
    best: str


@dataclass(frozen=True)
class Released:
    """A worker has stopped working on a job that has not ended; the job can be run again.

    Attributes:
        job: number of the job, from 0.
        reason: why the worker stopped.
    """

    job: int
    reason: str


Event = Began | Released | Stepped | Ended
Report = Callable[[Event], None]
"""Function that is called with each event."""
