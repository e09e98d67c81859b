"""What workers share is safe to fork: no threads, no CUDA; and it is imported as by commands."""

import os
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from nas.comparisons import workers as comparisons
from nas.jobs.pool import METHOD, start_pool
from nas.sweeps import workers as sweeps

SHARED = (*comparisons.SHARED, *sweeps.SHARED)
UNUSED = ("transformers", "scipy.signal", "scipy.stats", "sklearn", "pandas")
"""Libraries that take long to import and that other libraries would import."""


def tell(line: Connection) -> None:
    """Send what the server has imported and started when it forked this process."""
    before = {name for name in (*SHARED, *UNUSED) if name in sys.modules}
    tasks = len(list(Path(f"/proc/{os.getppid()}/task").iterdir()))
    import torch

    line.send((before, tasks, torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()))


@pytest.mark.skipif(METHOD != "forkserver", reason="workers are not forked")
def test_the_server_has_the_modules_and_neither_threads_nor_cuda() -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # that of earlier tests
    with start_pool(1, tell, shared=SHARED) as pool:
        assert pool.workers[0].line.recv() == ({*SHARED}, 1, False, False)


def compute(line: Connection) -> None:
    """Send where a tensor is, and how many GPUs there are."""
    import torch

    line.send((str(torch.ones(1, device="cuda").device), torch.cuda.device_count()))


@pytest.mark.gpu
@pytest.mark.skipif(METHOD != "forkserver", reason="workers are not forked")
def test_forked_workers_compute_on_a_gpu() -> None:
    with start_pool(2, compute, shared=SHARED) as pool:
        for worker in pool.workers:
            assert worker.line.recv() == ("cuda:0", 1)
