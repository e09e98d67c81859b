"""Names of mixers: a single operation, or several operations with a router.

This module has no implementation of operations. The package that implements them registers their names.
"""

from collections.abc import Callable

ROUTED: dict[str, tuple[str, ...]] = {"token_hybrid": ("softmax", "linear")}
"""Mixers with a router, and the operations between which it chooses. The first operation stores keys and values, so a
chunk that is routed to it counts as kept."""

_operations: list[str] = []
_families: list[str] = []
_finders: list[Callable[[str], bool]] = []


def register(name: str) -> None:
    """Add the name of an operation."""
    if name not in _operations:
        _operations.append(name)


def register_family(prefix: str) -> None:
    """Add all operations whose names consist of ``prefix``, a colon and another name."""
    if prefix not in _families:
        _families.append(prefix)


def register_finder(find: Callable[[str], bool]) -> None:
    """Add a function that finds operations of plugins: it registers the operation of a name, or returns False."""
    if find not in _finders:
        _finders.append(find)


def names() -> list[str]:
    """Return the names of all mixers: operations first, then those with a router."""
    return [*_operations, *(name for name, own in ROUTED.items() if set(own) <= set(_operations))]


def known(mixer: str) -> bool:
    """Return whether a mixer has this name; True for every name while no operation is registered."""
    if not _operations or mixer in names() or (":" in mixer and mixer.split(":")[0] in _families):
        return True
    return any(find(mixer) for find in _finders)


def allowed() -> str:
    """Return the names of all mixers, as text for messages."""
    return ", ".join([*names(), *(f"{prefix}:NAME" for prefix in _families)])


def operations_of(mixer: str) -> tuple[str, ...]:
    """Return the operations of a mixer: a single one, or the operations between which its router chooses."""
    return ROUTED.get(mixer, (mixer,))
