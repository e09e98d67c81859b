"""Libraries that other libraries import, and that commands do not use."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from nas.cli.deferring import deferred


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that takes long to import, and one that imports it."""
    (tmp_path / "slow_library.py").write_text("class Model:\n    loads = 'weights'\n")
    (tmp_path / "its_user.py").write_text("from slow_library import Model\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_library", "its_user"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("libraries")
def test_a_library_is_imported_when_it_is_used() -> None:
    with deferred("slow_library"):
        user = import_module("its_user")
    assert "slow_library" not in sys.modules
    assert user.Model.loads == "weights"
    assert isinstance(user.Model(), sys.modules["slow_library"].Model)
    assert sys.modules["slow_library"].Model.loads == "weights"


@pytest.mark.usefixtures("libraries")
def test_an_imported_library_stays_as_it_is() -> None:
    library = import_module("slow_library")
    with deferred("slow_library"):
        assert import_module("its_user").Model is library.Model
    assert sys.modules["slow_library"] is library


def test_a_library_that_is_not_installed_stays_so() -> None:
    with deferred("no_such_library"), deferred("no_such_library.module"), pytest.raises(ModuleNotFoundError):
        import_module("no_such_library")
