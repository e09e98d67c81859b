"""The project's wheel, and a wheel of somebody else's package `kernels`: built once."""

from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, Environment, build_wheel, write_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the project's wheel."""
    return Environment(tmp_path_factory.mktemp("installed") / "venv", wheel)


@pytest.fixture(scope="session")
def kernels_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution as Hugging Face's: a top-level package `kernels` with a function `get_kernel`."""
    code = "def get_kernel(name):\n    return f'kernel {name}'\n"
    return write_wheel(tmp_path_factory.mktemp("theirs"), "their_kernels", "kernels", code)
