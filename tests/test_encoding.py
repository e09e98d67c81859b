"""Every text file is read and written as UTF-8, whatever the locale."""

import ast
from collections.abc import Iterator

import pytest

from tests.test_layout import ROOT, sources

BINARY = ("tarfile", "zipfile", "gzip", "os", "Image")
"""Modules with a function ``open`` that has no encoding."""


def mode(call: ast.Call, place: int) -> str:
    """The mode of a call of open; "b" where it cannot be read from the code."""
    given = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == "mode")]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "b" if given else "r"


def is_text(call: ast.Call) -> bool:
    """Whether a call reads or writes a text file: read_text and write_text of a path, or open in text mode."""
    match call.func:
        case ast.Name("open"):
            return "b" not in mode(call, 1)
        case ast.Attribute(ast.Name(module), "open") if module in BINARY:
            return False
        case ast.Attribute(_, "open"):
            return "b" not in mode(call, 0)
        case ast.Attribute(_, "read_text"):
            return True
        case ast.Attribute(_, "write_text"):
            return len(call.args) == 1  # a run folder's takes the name too
    return False


def unspecified(code: str) -> Iterator[int]:
    """Lines of calls that read or write a text file in the encoding of the locale."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and is_text(node) and all(word.arg != "encoding" for word in node.keywords):
            yield node.lineno


@pytest.mark.parametrize("folder", ["nas", "search_spaces", "kernels", "experiments", "docs"])
def test_files_are_utf8(folder: str) -> None:
    found = {str(path): [*unspecified((ROOT / path).read_text(encoding="utf-8"))] for path in sources(folder)}
    assert found
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_calls_without_an_encoding_are_found() -> None:
    calls = ("open(path)", "path.read_text()", "path.write_text(text)", "path.open('a')", "open(path, mode='w')")
    allowed = ("open(path, 'rb')", "path.open(mode='wb')", "path.read_text(encoding='utf-8')", "tarfile.open(path)")
    assert [*unspecified("\n".join((*calls, *allowed)))] == [1, 2, 3, 4, 5]
