"""The text of ``--version``, from the metadata of installed packages: nothing is imported for it."""

import platform
from importlib.metadata import PackageNotFoundError, version

PROJECT = "nas-hybrid-attention"
"""Name of this project in `pyproject.toml`."""


def text() -> str:
    """Return the versions of this project, of torch and of Python."""
    return f"nas {_version(PROJECT)}, torch {_version('torch')}, Python {platform.python_version()}"


def _version(package: str) -> str:
    """Return the version of a package; a checkout that is used without being installed has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
