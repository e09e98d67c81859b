"""What a worker tells of its jobs while it works, to whoever shows it: plain values, so that they cross processes."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Began:
    """A job has begun. job: from 0; values: what was chosen for it."""

    job: int
    values: str


@dataclass(frozen=True)
class Stepped:
    """A step of its training is done. figures: those of the step, as text; empty where they were not read."""

    job: int
    step: int
    steps: int
    figures: str = ""


@dataclass(frozen=True)
class Ended:
    """A job has ended. told: how; finished: how many of all have; best: the best of them, as text."""

    job: int
    told: str
    finished: int
    best: str


@dataclass(frozen=True)
class Left:
    """A job goes on no longer here, and will be run again. reason: why."""

    job: int
    reason: str


Event = Began | Left | Stepped | Ended
Tell = Callable[[Event], None]
