"""Every module can be imported, and the examples in docstrings give the results that they show."""

import doctest
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[1] / "nas"


def module_files() -> list[tuple[str, Path]]:
    """Name and file of every module below nas/, in a fixed order; nas/conf holds YAML."""
    found = []
    for folder, inner, files in os.walk(PACKAGE, followlinks=True):  # kernels and search_spaces are links
        inner[:] = sorted(set(inner) - {"conf", "__pycache__"})
        for file in sorted(files):
            path = Path(folder, file)
            if path.suffix == ".py":
                parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
                found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


MODULES = dict(module_files())
WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>>" in path.read_text()]


def imported(name: str) -> ModuleType:
    """The module; skips the test if the module needs Triton and Triton is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "triton":
            pytest.skip(f"{name} needs triton")
        raise


@pytest.mark.parametrize("name", MODULES)
def test_module_can_be_imported(name: str) -> None:
    assert Path(imported(name).__file__ or "").samefile(MODULES[name])


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings(name: str) -> None:
    result = doctest.testmod(imported(name))
    assert result.attempted > 0
    assert result.failed == 0
