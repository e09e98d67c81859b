"""What every test gets: a fixed seed, one thread, and buffers that show when nobody wrote them.

Several processes may run the tests (pytest-xdist): each has one thread, and a GPU is left to one process.
"""

import functools
import gc
import os
import signal
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

gc.disable()  # until the first test: nearly all that imports and collection make stays
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else no test can press Ctrl-C in a background job
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton: its kernels run on the CPU


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Number of processes of ``-n auto``: one a core, but none beside this one where tests share a GPU."""
    return 0 if torch.cuda.is_available() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Collect garbage seldom, and never look at what imports and collection have made: it stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage again; this is also called in the process that only hands tests to others."""
    gc.enable()


def pytest_unconfigure() -> None:
    """Give everything back to the collector: Triton's bindings complain of what is left at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors in tests are too small to share between threads: starting them costs more than it saves."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def poisoned_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill fresh floating-point buffers with NaN: fresh memory is often zero, which hides an unwritten output."""
    with torch.device("cpu"):
        torch.empty(0)  # torch remembers from now on which functions make tensors on the device in force
    monkeypatch.setattr(torch, "empty", _poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", _poisoned(torch.empty_like))
    monkeypatch.setattr(Tensor, "new_empty", _poisoned(Tensor.new_empty))


def _poisoned(create: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(create)
    def create_poisoned(*args: object, **kwargs: object) -> Tensor:
        buffer = create(*args, **kwargs)
        if buffer.is_floating_point():
            with torch.no_grad():
                buffer.fill_(torch.nan)
        return buffer

    return create_poisoned
