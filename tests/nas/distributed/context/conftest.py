"""What processes that share sequences found: started once for all tests of this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.nas.commands import ROOT, Ended
from tests.nas.distributed.context import sharing
from tests.nas.distributed.several import ALONE_WITH_A_CORE, searched


class Found(NamedTuple):
    """What each process of four measured, see `sharing.measured`, and the run folder of a search by two."""

    measured: list[dict[str, Any]]
    run: Path


def _start(output: str) -> Ended:
    folder = Path(output.removeprefix("output="))
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", sharing.__name__, str(folder)],
        cwd=ROOT, env=os.environ | ALONE_WITH_A_CORE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(done.returncode, str(folder), done.stderr)


@pytest.fixture(scope="session")
def found(shared: Callable[..., Ended]) -> Found:
    folder = Path(shared("sharing", _start).out)
    measured = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(sharing.WORLD)]
    return Found(measured, searched(folder))
