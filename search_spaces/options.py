"""Numeric options of a config: dataclass fields with bounds."""

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

BOUNDS = "bounds"
"""Key of the `Bounds` in a field's metadata."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of a numeric option: a lower end, and perhaps an upper end; values must be finite.

    Attributes:
        at_least: lower end, included.
        above: lower end, excluded; exactly one of the two is given.
        at_most: upper end, included.
        below: upper end, excluded; at most one of the two is given.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.above is None) or None not in (self.at_most, self.below):
            raise ValueError(f"{self} must have exactly one lower end and at most one upper end.")

    def allow(self, value: float) -> bool:
        """Return whether an option may have this value.

        >>> [Bounds(above=0, at_most=1).allow(value) for value in (0, 0.5, 1, float("nan"))]
        [False, True, True, False]
        """
        return (
            value < math.inf  # nor is it NaN
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    @property
    def advice(self) -> str:
        """Advice for a number that is not allowed, as text for messages.

        >>> Bounds(at_least=1).advice, Bounds(above=0).advice, Bounds(at_least=0, below=1).advice
        ('give 1 or more', 'give a number over 0', 'give a number from 0 to below 1')
        """
        if self.at_most is None and self.below is None:
            return f"give {self.at_least:g} or more" if self.above is None else f"give a number over {self.above:g}"
        low = f"from {self.at_least:g} to " if self.above is None else f"over {self.above:g} and "
        if self.below is not None:
            return f"give a number {low}below {self.below:g}"
        return f"give a number {low}{'' if self.above is None else 'at most '}{self.at_most:g}"


def option(*, default: Any = MISSING, **bounds: float) -> Any:
    """Return the dataclass field of a numeric option with `Bounds`; bounds do not apply to null.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Config:
    ...     steps: int = option(at_least=1)
    """
    return field(default=default, metadata={BOUNDS: Bounds(**bounds)})
