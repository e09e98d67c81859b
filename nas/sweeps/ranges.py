"""The ranges of the options that a sweep varies, read from plain values and checked.

A range is ``{low, high}``, optionally with ``log: true`` or a ``step``, or ``{choices: [...]}``. Its key is the name of
the option, dotted (``trainer.learning_rate: {...}``) or nested (``trainer: {learning_rate: {...}}``). An option with
null has no range. The type of the option decides whether its range is of integers or of any numbers; without a type,
as in some groups, a range is of integers if both ends are integers.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import Field, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from nas.cli.overrides import Value
from nas.errors import UserError
from nas.search_spaces.options import option_of

if TYPE_CHECKING:
    from optuna import Trial

KEYS = ("low", "high", "log", "step", "choices")


@dataclass(frozen=True)
class Numbers:
    """A range of numbers from ``low`` to ``high``, both included; ``step`` is None if every number is allowed."""

    low: float
    high: float
    log: bool
    step: float | None

    @property
    def whole(self) -> bool:
        """Return whether all values are integers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    @property
    def size(self) -> float:
        """Return the number of values, which may be infinite."""
        step = self.step or (1 if self.whole else None)
        return math.inf if step is None else math.floor((self.high - self.low) / step + 1e-9) + 1

    def suggest(self, trial: "Trial", option: str) -> Value:
        """Return a value that the sampler of a trial chooses."""
        if self.whole:
            return trial.suggest_int(option, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(option, self.low, self.high, step=self.step, log=self.log)

    def values(self) -> list[Value]:
        """Return all values; ``size`` must be finite."""
        step = self.step or 1
        return [self.low + number * step for number in range(int(self.size))]

    def to_plain(self) -> dict[str, Any]:
        """Return plain values that identify the range."""
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


@dataclass(frozen=True)
class Choices:
    """A choice among several values; lists and mappings are given as text that Hydra reads."""

    choices: tuple[Value, ...]

    @property
    def size(self) -> float:
        """Return the number of values."""
        return len(self.choices)

    def suggest(self, trial: "Trial", option: str) -> Value:
        """Return a value that the sampler of a trial chooses."""
        return trial.suggest_categorical(option, self.choices)

    def values(self) -> list[Value]:
        """Return all values."""
        return list(self.choices)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values that identify the range."""
        return {"choices": list(self.choices)}


Range = Numbers | Choices


def read(given: Mapping[str, Any], options: Mapping[str, "Field[Any] | None"]) -> dict[str, Range]:
    """Return the ranges of a config by option, in alphabetical order.

    Args:
        given: the value of ``sweep.ranges``.
        options: the options and groups that may have a range, by name; the field of an option, None without a field.

    Raises:
        UserError: a range is malformed or has an unknown name, or no range is given.
    """
    found: dict[str, Range] = {}
    for option, value in _leaves(given, options):
        if option not in options:
            near = get_close_matches(option, options, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                f"sweep.ranges has {option}, which is not an option of the search; {meant}nas.search --help lists them."
            )
        if option in found:
            raise UserError(f"sweep.ranges has {option} twice, dotted and nested; give the range once.")
        if value is not None:
            found[option] = _range(option, value, options[option])
    if not found:
        raise UserError(
            "sweep.ranges is empty, so no option would vary; give a range, for example "
            "+sweep.ranges.trainer.learning_rate='{low: 1e-3, high: 1e-2, log: true}'."
        )
    return dict(sorted(found.items()))


def _leaves(given: Mapping[str, Any], options: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each range as it was given."""
    for key, value in given.items():
        name = f"{prefix}{key}"
        has_options = any(option.startswith(f"{name}.") for option in options)
        if isinstance(value, Mapping) and not set(value) & set(KEYS) and (has_options or name not in options):
            yield from _leaves(value, options, f"{name}.")
        else:
            yield name, value


def _range(option: str, given: Any, own: "Field[Any] | None") -> Range:
    name = f"sweep.ranges.{option}"
    if not isinstance(given, Mapping):
        raise UserError(f"{name}={given} is not a range; give {{low: ..., high: ...}} or {{choices: [...]}}.")
    if unknown := [str(key) for key in given if key not in KEYS]:
        raise UserError(f"{name} has {', '.join(unknown)}; a range has low, high, log and step, or choices.")
    if "choices" in given:
        if len(given) > 1:
            others = ", ".join(key for key in KEYS if key in given and key != "choices")
            raise UserError(f"{name} has choices and {others}; give one or the other.")
        return _choices(name, given["choices"], own)
    if missing := [key for key in ("low", "high") if given.get(key) is None]:
        raise UserError(f"{name} has no {' and no '.join(missing)}; give both ends, or choices.")
    return _numbers(name, given, own)


def _choices(name: str, given: Any, own: "Field[Any] | None") -> Choices:
    if not isinstance(given, list) or not given:
        raise UserError(f"{name}.choices={given} is not a list of values; give one, for example [8, 16, 32].")
    for value in given:
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(f"{name}.choices={given}", value, own)
    choices = tuple(json.dumps(value) if isinstance(value, list | dict) else value for value in given)
    if len(set(map(repr, choices))) < len(choices):
        raise UserError(f"{name}.choices={given} has a value twice; give each value once.")
    return Choices(choices)


def _kind(own: "Field[Any] | None") -> type | None:
    """Return int, float or another type of an option, also of one that may be null; None if any value is allowed."""
    kinds = [] if own is None else [kind for kind in get_args(own.type) or (own.type,) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) else None


def _check_number(given: str, value: float, own: "Field[Any] | None") -> None:
    """Raise a UserError if an option may not have a number of its range.

    Args:
        given: the part of the range, as text for messages.
        value: the number.
        own: field of the option.
    """
    if own is None:
        return
    if _kind(own) is int and value != int(value):
        raise UserError(f"{given} has {value:g}, but {own.name} is an integer; give integers.")
    bounds = option_of(own).bounds
    if bounds is not None and not bounds.allow(value):
        raise UserError(f"{given} has {value:g}, which {own.name} may not be; {bounds.advice(value)}.")


def _numbers(name: str, given: Mapping[str, Any], own: "Field[Any] | None") -> Numbers:
    kind = _kind(own)
    if kind is not None and kind not in (int, float):
        raise UserError(f"{name} has low and high, but {name.rpartition('.')[2]} is no number; give choices.")
    log, step = given.get("log") or False, given.get("step")
    if not isinstance(log, bool):
        raise UserError(f"{name}.log={log} is not allowed; give true or false.")
    numbers = {key: value for key, value in (*given.items(),) if key != "log" and value is not None}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{name}.{key}={value} is not allowed; give a finite number.")
        if key != "step":
            _check_number(f"{name}.{key}", value, own)
        elif kind is int and value != int(value):
            raise UserError(f"{name}.step={value:g} is not allowed for an integer; give an integer.")
    low, high = given["low"], given["high"]
    if low > high:
        raise UserError(f"{name} is empty: low={low} is over high={high}; give low of at most high.")
    if log and low <= 0:
        raise UserError(f"{name} has log=true and low={low}; give low over 0, or log=false.")
    if log and step is not None:
        raise UserError(f"{name} has log=true and step={step}; give one of them.")
    if step is not None and step <= 0:
        raise UserError(f"{name}.step={step} is not allowed; give a number over 0.")
    if kind in (int, float):
        low, high, step = kind(low), kind(high), None if step is None else kind(step)
    return Numbers(low, high, log, step)
