"""The operations that mix tokens, one class and one file each; `OPERATIONS` is the table that names them.

>>> from nas.models.operations import find
>>> find("softmax").keeps_all, find("linear").keeps_all
(True, False)
"""

from collections.abc import Callable, Iterable

from nas.models.operations import fla, pretrained
from nas.models.operations.linear import Linear
from nas.models.operations.operation import Branch, Operation, Standalone
from nas.models.operations.softmax import Softmax
from nas.models.operations.window import Window
from nas.plugins import installed, loading, registry
from nas.search_spaces import operations as mixers
from nas.search_spaces.architecture import Architecture, Layer

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in (Softmax(), Linear(), Window())}
"""Operations by name."""
FAMILIES: dict[str, Callable[[str], Operation]] = {fla.PREFIX: fla.operation}
"""Factories of operations of other libraries, by the prefix of their names. An argument is the name after the colon."""


def register(operation: Operation) -> None:
    """Add an operation to the table, so that spaces, models and reports find it by name."""
    if not isinstance(operation, Branch | Standalone):
        raise TypeError(f"{operation!r} is not an operation; derive its class from Branch or Standalone.")
    OPERATIONS[operation.name] = operation
    mixers.register(operation.name)


def find(name: str) -> Operation:
    """Return the operation of a name; ValueError if the name is unknown or the library of the operation is missing."""
    prefix, colon, member = name.partition(":")
    if name not in OPERATIONS and colon and prefix in FAMILIES:
        OPERATIONS[name] = FAMILIES[prefix](member)
    if name not in OPERATIONS and not _from_plugin(name):
        raise ValueError(f"operation {name} is unknown; choose from: {mixers.allowed()}.")
    return OPERATIONS[name]


def _from_plugin(name: str) -> bool:
    """Register the operation that a plugin adds under a name; False if no plugin adds it."""
    added = loading.find(installed.OPERATION, name)
    if added is None:
        return False
    if not isinstance(added.make, Branch | Standalone):
        wanted = "be a Branch or Standalone of nas.models.operations"
        raise registry.misbehaviour(installed.OPERATION, name, "is of another class", wanted, added.make)
    register(added.make)
    return True


def operation_of(name: str, a: Architecture) -> Operation:
    """Return the operation of a name in models of these sizes: in a pretrained model, as one with its projections.

    Raises:
        ValueError: the name is unknown, or pretrained models do not have the operation.
    """
    operation = find(name)
    if a.backbone is None or isinstance(operation, Standalone):
        return operation
    if name not in pretrained.OPERATIONS:
        raise ValueError(
            f"operation {name} cannot use the projections of a pretrained model; choose from: "
            f"{', '.join(pretrained.OPERATIONS)}."
        )
    return pretrained.OPERATIONS[name]


def check_operations(layers: Iterable[Layer], sizes: Architecture) -> None:
    """Raise ValueError if an operation of the layers is unknown, or models of these sizes cannot have it here."""
    for operation in in_order({name for layer in layers for name in layer.operations}):
        operation_of(operation.name, sizes)


def dense_share(layer: Layer) -> float:
    """Return the softmax share, 1 or 0, of a layer whose router, if any, keeps every chunk."""
    return float(find(layer.operations[0]).keeps_all)


def in_order(names: set[str]) -> list[Operation]:
    """Return the operations of these names, in the order of the table."""
    for name in sorted(names):
        find(name)
    return [operation for name, operation in OPERATIONS.items() if name in names]


for _name in OPERATIONS:
    mixers.register(_name)
for _prefix in FAMILIES:
    mixers.register_family(_prefix)
mixers.register_finder(_from_plugin)

__all__ = [
    "FAMILIES",
    "OPERATIONS",
    "Branch",
    "Operation",
    "Standalone",
    "check_operations",
    "dense_share",
    "find",
    "in_order",
    "operation_of",
    "register",
]
