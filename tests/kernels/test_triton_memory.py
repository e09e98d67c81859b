"""What the two operations launch compiles for Hopper, and asks for no more shared memory than a program can have there.

Triton refuses a launch that asks for more ("OutOfResources"), but only on the GPU: the interpreter that the other tests
use has no such limit. How much a kernel asks for follows from its tiles and stages once it is compiled, and that takes
no GPU. `tests.kernels.compile_for_hopper` does it, in a process of its own, where triton is not set to interpret.
Triton keeps what it has compiled: only the first run, and the first after a kernel has changed, takes a minute.
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
