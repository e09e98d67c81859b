"""Typed values from JSON: what fits comes back as its type, and what does not is named."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from nas.runs.decode import decode


@dataclass(frozen=True)
class Inner:
    name: str
    value: float = 1.0


@dataclass(frozen=True)
class Outer:
    inner: Inner
    several: tuple[Inner, ...]
    by_layer: dict[int, list[float]]
    pair: tuple[int, float] | None = None
    words: list[str] = field(default_factory=list)


def test_objects_within_objects_come_back() -> None:
    given = {
        "inner": {"name": "a", "value": None, "unknown": 3},
        "several": [{"name": "b"}],
        "by_layer": {"3": [1, 0.5]},
        "pair": [4, 2.5],
    }
    made = decode(Outer, given, "outer")
    assert isinstance(made, Outer)
    assert math.isnan(made.inner.value)
    assert made.several == (Inner("b", 1.0),)
    assert made.by_layer == {3: [1, 0.5]}
    assert (made.pair, made.words) == ((4, 2.5), [])


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Inner, [], "x is list; it must be an object."),
        (Inner, {"value": 3}, "x has no name; it has: value."),
        (Inner, {}, "x has no name; it has: nothing."),
        (Inner, {"name": 3}, "x.name is 3, which is not of type str."),
        (Inner, {"name": "a", "value": "b"}, "x.value is 'b', which is not of type float."),
        (float, True, "x is True, which is not of type float."),
        (int, 1.5, "x is 1.5, which is not of type int."),
        (int, True, "x is True, which is not of type int."),
        (int, None, "x is None, which is not of type int."),
        (bool, 1, "x is 1, which is not of type bool."),
        (list[int], {}, "x is dict; it must be a list."),
        (list[int], [1, "2"], "x[1] is '2', which is not of type int."),
        (tuple[int, float], [1], "x has 1 items; it needs 2."),
        (dict[int, float], {"a": 1.0}, "x has a key 'a', which is not a whole number."),
        (dict[str, int], {"a": None}, "x.a is None, which is not of type int."),
    ],
)
def test_what_does_not_fit_is_named(kind: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        decode(kind, given, "x")
    assert str(raised.value) == message
