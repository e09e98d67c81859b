"""The kernels of the operations compile for Hopper, and their shared memory fits the limit of a program there.

Triton raises an error for a launch with more ("OutOfResources"), but only on the GPU: the interpreter of the other
tests has no such limit. The shared memory follows from a kernel's tiles and stages once it is compiled, which needs no
GPU. `tests.kernels.compile_for_hopper` compiles in a separate process in which triton does not interpret. Triton caches
compiled kernels: the first run takes a minute, and so does the first after a change of a kernel.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

LIMIT = 227 * 1024
"""Largest shared memory of a program in bytes at compute capability 9.0."""

KERNELS = {
    "delta": {
        "invert", "prepare", "summarise", "chain", "scan", "scan_back", "differentiate_values", "differentiate_keys",
    },
    "softmax": {
        "_index_kernel", "_forward_kernel", "_recompute_kernel", "_delta_kernel", "_own_chunk_kernel",
        "_backward_kernel", "_skipped_kernel", "_window_forward_kernel", "_window_backward_kernel",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def asked() -> dict[str, dict[str, int]]:
    """Shared memory in bytes by case, "<operation> <what of it>", and kernel."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.kernels.compile_for_hopper"],
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_every_launch_fits(asked: dict[str, dict[str, int]]) -> None:
    too_much = {
        f"{kernel} of {case}": shared
        for case, kernels in asked.items()
        for kernel, shared in kernels.items()
        if shared > LIMIT
    }
    assert not too_much


@pytest.mark.parametrize("operation", KERNELS)
def test_cases_reach_every_kernel(asked: dict[str, dict[str, int]], operation: str) -> None:
    reached = [set(kernels) for case, kernels in asked.items() if case.split()[0] == operation]
    assert set().union(*reached) == KERNELS[operation]
