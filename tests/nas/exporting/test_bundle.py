"""One file of a module and of what it uses from others."""

import ast
import sys
from pathlib import Path

import pytest

from nas.exporting import remote_code
from nas.exporting.bundle import PACKAGE, bundle


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose modules are copied."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("nas.exporting.bundle.PACKAGE", "own")
    for name in [name for name in sys.modules if name.split(".")[0] == "own"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_the_modelling_file_imports_torch_and_transformers_only() -> None:
    tree = ast.parse(remote_code.code())
    modules = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert modules - set(sys.stdlib_module_names) == {"torch", "transformers"}
    assert PACKAGE not in modules


def test_what_is_used_is_copied_in_order_and_nothing_else(package: Path) -> None:
    (package / "low.py").write_text(
        "import math\nimport os\n\nFACTOR = 2\n'''A factor.'''\nUNUSED = os.name\n\n\nclass Hint:\n    pass\n\n\n"
        "def twice(x: Hint) -> int:\n    return FACTOR * math.floor(x)\n"
    )
    (package / "high.py").write_text("from own.low import twice\n\n\ndef four_times(x):\n    return twice(twice(x))\n")
    text = bundle("own.high", "What it is.")
    assert "UNUSED" not in text
    assert "import os" not in text
    assert "A factor." in text
    made: dict[str, object] = {}
    exec(text, made)
    four_times = made["four_times"]
    assert callable(four_times)
    assert four_times(3) == 12
    assert made["__doc__"] == "What it is."


def test_names_that_two_modules_define_are_refused(package: Path) -> None:
    (package / "low.py").write_text("def _one():\n    return 1\n\n\ndef low():\n    return _one()\n")
    (package / "high.py").write_text("from own.low import low\n\n\ndef _one():\n    return low()\n")
    with pytest.raises(ValueError, match=r"own.low and own.high both define _one; rename one of them"):
        bundle("own.high", "")


def test_other_names_for_copies_and_names_of_third_modules_are_refused(package: Path) -> None:
    (package / "low.py").write_text("from math import floor\n")
    (package / "high.py").write_text("from own.low import floor as down\n\n\ndef high():\n    return down(1)\n")
    with pytest.raises(ValueError, match="imports floor as down; a copied name cannot change"):
        bundle("own.high", "")
    (package / "high.py").write_text("from own.low import floor\n\n\ndef high():\n    return floor(1)\n")
    with pytest.raises(ValueError, match="does not define floor itself; import it from the module that does"):
        bundle("own.high", "")
