import importlib.util
from types import ModuleType

import pytest

from tests.docs.snippets import ROOT


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    pytest.importorskip("griffe", reason="needs the docs extra")
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs/docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_doctests_become_code(docstrings: ModuleType) -> None:
    given = "Add.\n\n>>> add(\n...     1, 2\n... )\n3\n\nMore."
    assert docstrings.markdown(given) == "Add.\n\n```pycon\n>>> add(\n...     1, 2\n... )\n3\n```\n\nMore."


def test_literal_blocks_lose_their_second_colon(docstrings: ModuleType) -> None:
    assert docstrings.markdown("That is::\n\n    a::b") == "That is:\n\n    a::b"


def test_other_text_stays(docstrings: ModuleType) -> None:
    text = "Add ``a`` and b.\n\nArgs:\n    a: a number.\n"
    assert docstrings.markdown(text) == text
