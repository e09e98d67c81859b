"""Runs that many tests look at: made once, whichever process needs one first, and read or copied from then on."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from nas.files.checksums import CHECKSUMS
from tests.nas.commands import BATCHES, MODEL, SEARCH, TRAINER, Ended, nas
from tests.nas.comparisons.comparing import FEW, compare
from tests.nas.plugins.written import Plugins
from tests.nas.sweeps.sweeping import SEVERAL, SWEEP

Shared = Callable[..., Ended]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Run a command that has to go well, once for all processes that run the tests.

    The function takes a name for its folder, the command, or a function that runs it, and its options.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run(name: str, command: str | Callable[..., Ended], *options: str) -> Ended:
        act = partial(nas, command) if isinstance(command, str) else command
        kept = folder / f"{name}.json"
        with FileLock(folder / f"{name}.lock"):
            if not kept.exists():
                ended = act(*options, f"output={folder / name}")
                assert ended.status == 0, ended.err
                kept.write_text(json.dumps(ended))
        return Ended(*json.loads(kept.read_text()))

    return run


@pytest.fixture(scope="session")
def search(shared: Shared) -> Ended:
    """A small search; tests do not write to its folder."""
    return shared("search", "search", *SEARCH)


@pytest.fixture
def finished(search: Ended, tmp_path: Path) -> Path:
    """A copy of its run folder."""
    return Path(shutil.copytree(search.run, tmp_path / search.run.name))


@pytest.fixture
def editable(finished: Path) -> Path:
    """A copy of its run folder without checksums, so that files which a test changes do not count as damaged."""
    (finished / CHECKSUMS).unlink()
    return finished


@pytest.fixture(scope="session")
def of_bytes(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small search on bytes; tests do not write to it."""
    text = tmp_path_factory.mktemp("bytes") / "lines"
    text.write_bytes(b"".join(b"line %04d\n" % line for line in range(3000)))
    options = ("+space=token_hybrid", *MODEL, "data=text", "data.length=64", f"data.path={text}", *BATCHES, *TRAINER)
    return shared("bytes", "search", *options).run


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """The current folder to write plugins into. What they register and import is gone after the test."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written = Plugins(folder)
    yield written
    written.unload()


@pytest.fixture(scope="session")
def swept(shared: Shared) -> Ended:
    """A small sweep; tests do not write to its folder."""
    return shared("swept", "sweep", *SWEEP)


@pytest.fixture(scope="session")
def front(shared: Shared) -> Ended:
    """A small sweep with several objectives; tests do not write to its folder."""
    return shared("front", "sweep", *SWEEP, *SEVERAL, "sweep.trials=4")


@pytest.fixture(scope="session")
def searched(shared: Callable[..., Ended]) -> Path:
    """The run of a search."""
    return shared("searched", "search", *SEARCH, "budget.target=0.3").run


@pytest.fixture(scope="session")
def compared(searched: Path, shared: Callable[..., Ended]) -> Ended:
    """What was searched beside three hybrids designed by hand."""
    baselines = "baselines=[linear,softmax_rope,random_routing]"
    return shared("compared", compare, f"runs=[{searched}]", baselines, *FEW, "trainer.steps=4", "seed=7")
