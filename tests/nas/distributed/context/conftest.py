"""What processes that share sequences found: started once for all tests of this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.nas.commands import ROOT, Ended
from tests.nas.distributed.context import sharing
from tests.nas.distributed.several import ALONE_WITH_A_CORE, searched

FORKS = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Lets PyTorch count GPUs without CUDA, which cannot be used in a process that is forked afterwards."""


class Found(NamedTuple):
    """What each process measured, see `sharing.measured`, and the run folder of a search by two."""

    measured: list[dict[str, Any]]
    run: Path


def _started(world: int, device: str, output: str) -> Ended:
    folder = Path(output.removeprefix("output="))
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", sharing.__name__, str(folder), str(world), device],
        cwd=ROOT, env=os.environ | ALONE_WITH_A_CORE | FORKS, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(done.returncode, str(folder), done.stderr)


def _found(shared: Callable[..., Ended], world: int, device: str) -> Found:
    folder = Path(shared(f"sharing_{device}", partial(_started, world, device)).out)
    measured = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    return Found(measured, searched(folder))


@pytest.fixture(scope="session")
def found(shared: Callable[..., Ended]) -> Found:
    """Four processes on CPUs."""
    return _found(shared, 4, "cpu")


@pytest.fixture(scope="session")
def found_on_gpus(shared: Callable[..., Ended]) -> Found:
    """Two processes on GPUs."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    return _found(shared, 2, "cuda")
