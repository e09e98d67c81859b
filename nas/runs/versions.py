"""Versions, commit and hardware of a run, for its `config.yaml`."""

import importlib.metadata
import platform
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from nas.distributed.launch import launched
from nas.runs.version import PROJECT

PACKAGES = (PROJECT, "torch", "lightning", "hydra-core", "tensorboard", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the results of a run depend on.

    This project has no version where its checkout is used without being installed.
    """
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def hardware(accelerator: str) -> dict[str, Any]:
    """Return the name and the number of the devices that a run uses; ``accelerator`` is the option of the trainer."""
    device = None if accelerator == "cpu" else torch.accelerator.current_accelerator()
    if device is None:
        name = f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
    else:
        name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return {"device": name, "count": launched().world}


def commit() -> str | None:
    """Return the commit of this project's checkout, with "+" if the working tree has uncommitted changes.

    Returns:
        None if the package is not imported from a git checkout of this project. An installed package often lies in the
        repository of another project, for example in its virtual environment; the commit of that one is not returned.
    """
    package = Path(__file__).parents[1]
    try:
        top = Path(_git(package, "rev-parse", "--show-toplevel"))
        if not _is_checkout(top, package):
            return None
        return _git(package, "rev-parse", "HEAD") + ("+" if _git(package, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _is_checkout(top: Path, package: Path) -> bool:
    """Return whether a repository is this project's, and ``package`` is the package in it."""
    try:
        name = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError):  # missing, not TOML, or not of a project
        return False
    return name == PROJECT and (top / package.name).resolve() == package.resolve()


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
