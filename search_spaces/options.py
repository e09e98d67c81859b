"""Fields of option dataclasses: the description of an option, and the values that it may have."""

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any

from omegaconf import MISSING

OPTION = "option"
"""Key of the `Option` in a field's metadata."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of a numeric option, or of the numbers in a list; values must be finite.

    Attributes:
        at_least: lower end, included.
        above: lower end, excluded; exactly one of the two is given.
        at_most: upper end, included.
        below: upper end, excluded.
        ceiling: upper end, included, of an option that has none by its meaning: larger values can only be mistakes. At
            most one of the three is given.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        upper = [end for end in (self.at_most, self.below, self.ceiling) if end is not None]
        if (self.at_least is None) == (self.above is None) or len(upper) > 1:
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
            and (self.ceiling is None or value <= self.ceiling)
        )

    def advice(self, given: float = math.nan) -> str:
        """Return advice for a number that is not allowed, as text for messages.

        >>> Bounds(at_least=1).advice(0), Bounds(above=0).advice(0), Bounds(at_least=0, below=1).advice(2)
        ('give 1 or more', 'give a number over 0', 'give a number from 0 to below 1')
        >>> Bounds(at_least=1, ceiling=1000).advice(2000)
        'give at most 1000'
        """
        if self.ceiling is not None and given > self.ceiling:
            return f"give at most {_text(self.ceiling)}"
        if self.at_most is None and self.below is None:
            low = self.above if self.at_least is None else self.at_least
            return f"give {_text(low)} or more" if self.above is None else f"give a number over {_text(low)}"
        return f"give a number {self._between}"

    @property
    def range(self) -> str:
        """The allowed numbers as text, without the upper end that only excludes mistakes.

        >>> Bounds(at_least=1, ceiling=1000).range, Bounds(above=0, at_most=1).range
        ('1 or more', 'over 0 and at most 1')
        """
        return self.advice().removeprefix("give ").removeprefix("a number ")

    @property
    def _between(self) -> str:
        low = f"over {_text(self.above)} and " if self.at_least is None else f"from {_text(self.at_least)} to "
        if self.below is not None:
            return f"{low}below {_text(self.below)}"
        return f"{low}{'' if self.above is None else 'at most '}{_text(self.at_most)}"


def _text(end: float | None) -> str:
    """Return an end of a range as text, with all digits of an integer.

    >>> _text(10**6), _text(0.5), _text(1e12)
    ('1000000', '0.5', '1e+12')
    """
    return str(end) if isinstance(end, int) else f"{end:g}"


@dataclass(frozen=True)
class Option:
    """Description and allowed values of one option.

    Attributes:
        help: description in one line, a noun phrase with the unit.
        bounds: bounds of numbers; None for other options.
        free_text: whether a string may be blank, and have line breaks and other characters that cannot be printed.
        auto: whether the word auto is allowed in place of a number.
    """

    help: str = ""
    bounds: Bounds | None = None
    free_text: bool = False
    auto: bool = False

    def advice(self, given: float = math.nan) -> str:
        """Return advice for a number that the bounds do not allow, as text for messages.

        >>> Option("machines", Bounds(at_least=1), auto=True).advice(0)
        'give auto, or 1 or more'
        """
        assert self.bounds is not None
        advice = self.bounds.advice(given)
        return f"give auto, or {advice.removeprefix('give ')}" if self.auto else advice


PLAIN = Option()
"""The option of a field that `option` did not make, as in some plugins."""


def option(
    help: str = "",
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    free_text: bool = False,
    auto: bool = False,
    **bounds: float,
) -> Any:
    """Return the dataclass field of an option.

    Args:
        help: description in one line, which ``--help`` prints.
        default: default value; by default a YAML file must give one.
        default_factory: function that makes the default value, instead of ``default``.
        free_text, auto: see `Option`.
        bounds: see `Bounds`; they do not apply to null.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Config:
    ...     steps: int = option("training steps", at_least=1)
    """
    metadata = {OPTION: Option(help, Bounds(**bounds) if bounds else None, free_text, auto)}
    if default_factory is not None:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def option_of(own: "Field[Any]") -> Option:
    """Return the option of a dataclass field."""
    found: Option = own.metadata.get(OPTION, PLAIN)
    return found
