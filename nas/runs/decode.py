"""Typed values from JSON: read and check what `nas.runs.folder.plain` made of frozen dataclasses."""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Union, cast, get_args, get_origin, get_type_hints


def decode(kind: Any, given: Any, name: str) -> Any:
    """Convert a JSON value to a type.

    Unknown fields of an object are ignored. A missing field takes its default, if it has one. Files of earlier and
    later versions are therefore readable as far as their fields agree.

    Args:
        kind: a dataclass, bool, int, float, str or Any, ``X | None``, or a list, tuple or dict of these. For a float,
            null becomes nan, since JSON cannot write nan. Keys of a dict may be int.
        given: result of `json.loads`; parts of it may already be instances of the dataclass.
        name: name of the value, for the message.

    Raises:
        ValueError: a part of the value does not fit; the message names its place.

    >>> decode(dict[int, list[float]], {"0": [0.5, None]}, "shares")
    {0: [0.5, nan]}
    """
    if kind is Any or (is_dataclass(kind) and isinstance(given, cast(type, kind))):
        return given
    if is_dataclass(kind):
        return _object(kind, given, name)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (only,) = (one for one in inner if one is not type(None))
        return None if given is None else decode(only, given, name)
    if origin is dict:
        key, value = inner
        entries = _expect(given, Mapping, "an object", name).items()
        return {decode_key(key, at, name): decode(value, one, f"{name}.{at}") for at, one in entries}
    if origin in (list, tuple):
        return origin(_items(inner, _expect(given, list, "a list", name), name))
    return _scalar(kind, given, name)


def decode_key(kind: Any, given: str, name: str) -> Any:
    """Convert the key of a JSON object to int or str; raise a ValueError if an int key is not a whole number."""
    try:
        return kind(given)
    except ValueError as error:
        raise ValueError(f"{name} has a key {given!r}, which is not a whole number.") from error


def _object(kind: Any, given: Any, name: str) -> Any:
    values = _expect(given, Mapping, "an object", name)
    hints, made = get_type_hints(kind), {}
    for field in fields(kind):
        if field.name in values:
            made[field.name] = decode(hints[field.name], values[field.name], f"{name}.{field.name}")
        elif not _has_default(field):
            raise ValueError(f"{name} has no {field.name}; it has: {', '.join(map(str, values)) or 'nothing'}.")
    return kind(**made)


def _has_default(field: "Field[Any]") -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _items(inner: tuple[Any, ...], given: list[Any], name: str) -> list[Any]:
    """Return the converted items: all of one type, or each of its own type if the tuple has a fixed length."""
    kinds = [inner[0]] * len(given) if len(inner) == 1 or inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(given):
        raise ValueError(f"{name} has {len(given)} items; it needs {len(kinds)}.")
    return [decode(kind, one, f"{name}[{at}]") for at, (kind, one) in enumerate(zip(kinds, given, strict=True))]


def _scalar(kind: Any, given: Any, name: str) -> Any:
    if kind is float:
        if given is None:
            return math.nan
        fits = isinstance(given, int | float) and not isinstance(given, bool)
    else:
        fits = isinstance(given, kind) and not (kind is int and isinstance(given, bool))
    if not fits:
        raise ValueError(f"{name} is {given!r}, which is not of type {kind.__name__}.")
    return given


def _expect(given: Any, kind: Any, words: str, name: str) -> Any:
    if not isinstance(given, kind):
        raise ValueError(f"{name} is {type(given).__name__}; it must be {words}.")
    return given
