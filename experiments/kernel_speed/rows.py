"""Measured rows: values of contenders, the floor, and the values' relation to the targets."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from experiments.kernel_speed.inputs import Shapes
from experiments.kernel_speed.limits import Ceilings
from experiments.kernel_speed.timing import Clock, Value
from nas.kernels.arguments import Impl

OURS = "ours"


@dataclass(frozen=True)
class Check:
    """A figure and its target.

    Attributes:
        name: name of the figure.
        value: the figure; None if it could not be measured.
        limit: upper bound, or, with at_least, lower bound.
    """

    name: str
    value: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Return whether the figure satisfies its bound; a missing figure does not."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        wanted = f"{'>=' if self.at_least else '<='} {self.limit:g}"
        if self.value is None:
            return f"{self.name} not measured, target {wanted}"
        value = f"{self.value:.3g}" if self.value < 100 else f"{self.value:.0f}"
        return f"{self.name} {value} {wanted}: {'met' if self.met else 'MISSED'}"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        case: shapes and share.
        what: name of the values, with their unit.
        values: values by contender, or by the varied setting.
        floor_ms: lower bound on our time on this machine.
        checks: targets.
        note: further findings.
    """

    case: str
    what: str
    values: dict[str, Value] = field(default_factory=dict)
    floor_ms: float | None = None
    checks: tuple[Check, ...] = ()
    note: str = ""

    def share_of_limit(self) -> float | None:
        """Return the floor over our time."""
        ours = self.values.get(OURS, Value()).value
        return self.floor_ms / ours if self.floor_ms is not None and ours else None

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """Return the row of a dict that `to_dict` made."""
        values = {name: Value(**value) for name, value in given["values"].items()}
        checks = tuple(Check(**check) for check in given["checks"])
        return cls(given["case"], given["what"], values, given["floor_ms"], checks, given["note"])


@dataclass(frozen=True)
class Bench:
    """Settings and clocks that every part needs.

    Attributes:
        launch_clock: clock of the host's time to launch a call.
        impl: implementation of our operations.
        seconds: approximate duration of the timed rounds of one row.
        on_device: whether SDPA's own backends are available; otherwise the plain one replaces each.
    """

    shapes: Shapes
    clock: Clock
    launch_clock: Clock
    ceilings: Ceilings
    impl: Impl
    seconds: float
    on_device: bool

    def backend(self, name: str) -> str:
        """Return SDPA's backend of this name, or its replacement."""
        return name if self.on_device else "math"


@dataclass(frozen=True)
class Case:
    """Rows that share their inputs; ``rows`` measures them one by one."""

    name: str
    rows: Callable[[], Iterator[Row]]


def ratio(value: float | None, other: float | None) -> float | None:
    """Return value / other, or None if either is None."""
    return value / other if value is not None and other else None


def fastest(values: dict[str, Value], *names: str) -> float | None:
    """Return the smallest value among these contenders."""
    return min((v for name in names if (v := values.get(name, Value()).value) is not None), default=None)


def linear_fit(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Return intercept, slope and R^2 of the least-squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    intercept = mean_y - slope * mean_x
    total = sum((b - mean_y) ** 2 for b in y)
    left = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    return intercept, slope, 1 - left / total if total else 1.0
