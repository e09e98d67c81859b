"""The table of operations, and that nothing else in the project compares their names."""

import ast
from pathlib import Path

import pytest

from nas.models import operations
from nas.models.operations import OPERATIONS, Branch, Operation, find, in_order, register
from nas.search_spaces import operations as mixers

ROOT = Path(__file__).parents[4]
NAMES = {*OPERATIONS, *mixers.ROUTED}
ELSEWHERE = [
    path
    for folder in ("nas", "search_spaces", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents) and ROOT / "nas/models/operations" not in path.parents
]


def names_compared(tree: ast.AST) -> list[int]:
    """Lines that compare something with the name of a mixer, or look a value up by such names."""

    def has_name(node: ast.AST) -> bool:
        return any(isinstance(inner, ast.Constant) and inner.value in NAMES for inner in ast.walk(node))

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(has_name, (node.left, *node.comparators))):
            found.append(node.lineno)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict) and has_name(node.value):
            found.append(node.lineno)
        if isinstance(node, ast.match_case) and has_name(node.pattern):
            found.append(node.pattern.lineno)
    return found


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_compares_names_of_operations(path: Path) -> None:
    assert names_compared(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code", ['x == "softmax"', 'x in ("linear", "token_hybrid")', '{"window": 1}[x]', 'match x:\n    case "linear": 1']
)
def test_a_comparison_would_be_found(code: str) -> None:
    assert names_compared(ast.parse(code))


def test_the_table_has_every_operation_by_its_own_name() -> None:
    assert all(operation.name == name and mixers.known(name) for name, operation in OPERATIONS.items())
    assert {name for own in mixers.ROUTED.values() for name in own} <= OPERATIONS.keys()


def test_looks_differ_from_one_operation_to_another() -> None:
    looks = [operation.look for operation in OPERATIONS.values()]
    for attribute in ("colour", "figure_colour", "letter"):
        assert len({getattr(look, attribute) for look in looks}) == len(looks), attribute


def test_operations_come_in_the_order_of_the_table() -> None:
    assert [operation.name for operation in in_order({"linear", "window", "softmax"})] == [
        "softmax",
        "linear",
        "window",
    ]


def test_an_unknown_operation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="operation hyena is unknown; choose from: softmax, linear, window"):
        find("hyena")
    with pytest.raises(ValueError, match="operation hyena is unknown"):
        in_order({"softmax", "hyena"})


def test_an_operation_from_elsewhere_is_known_once_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "OPERATIONS", dict(OPERATIONS))
    monkeypatch.setattr(mixers, "_operations", list(mixers._operations))

    class Other(type(find("softmax"))):  # type: ignore[misc]
        name = "other"

    register(Other())
    assert isinstance(find("other"), Branch)
    assert mixers.known("other")
    with pytest.raises(TypeError, match="derive its class from Branch or Standalone"):
        register("softmax")  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_only_softmax_keeps_all(operation: Operation) -> None:
    assert operation.keeps_all == (operation.name == "softmax")
