"""Names of the mixers that a layer may have: one operation, or several operations with a router between them.

What an operation computes is not known here. The package that computes operations registers the name of each.
"""

from collections.abc import Callable

ROUTED: dict[str, tuple[str, ...]] = {"token_hybrid": ("softmax", "linear")}
"""Mixers with a router, and the operations between which it chooses. The first keeps a chunk's keys and values, so a
chunk that is routed to it counts as kept."""

_operations: list[str] = []
_families: list[str] = []
_finders: list[Callable[[str], bool]] = []


def register(name: str) -> None:
    """Add the name of an operation."""
    if name not in _operations:
        _operations.append(name)


def register_family(prefix: str) -> None:
    """Add the operations whose names are ``prefix``, a colon and a name of their own."""
    if prefix not in _families:
        _families.append(prefix)


def register_finder(find: Callable[[str], bool]) -> None:
    """Add a function that looks for an operation elsewhere: it registers the one of a name, or returns False."""
    if find not in _finders:
        _finders.append(find)


def names() -> list[str]:
    """Return the names of all mixers: operations first, then those with a router."""
    return [*_operations, *(name for name, own in ROUTED.items() if set(own) <= set(_operations))]


def known(mixer: str) -> bool:
    """Whether a mixer has this name. Every name is taken as known while no operation is registered."""
    if not _operations or mixer in names() or (":" in mixer and mixer.split(":")[0] in _families):
        return True
    return any(find(mixer) for find in _finders)


def allowed() -> str:
    """The names of all mixers as a message lists them."""
    return ", ".join([*names(), *(f"{prefix}:NAME" for prefix in _families)])


def operations_of(mixer: str) -> tuple[str, ...]:
    """The operations of a mixer: itself alone, or those between which its router chooses."""
    return ROUTED.get(mixer, (mixer,))
