"""The kernels compile for the GPUs that they are meant for, and need no more than those have.

Triton raises an error for a launch with too much shared memory ("OutOfResources"), but only on the GPU: the interpreter
of the other tests has no such limit. What a kernel needs follows from its tiles and stages once it is compiled, which
needs no GPU. `tests.kernels.compile_kernels` compiles in a separate process in which triton does not interpret. Triton
caches compiled kernels: the first run takes a minute or two, and so does the first after a change of a kernel.

For Hopper these are the extremes of every kernel, for other GPUs a selection. Every case for all of them takes the
better part of an hour: ``python -m tests.kernels.compile_kernels 8.0 8.6 8.9 9.0 10.0 12.0``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("triton")

CASES = {
    "9.0": (
        "delta (128-256(|, no route|, no route, segments|, tiles in a chunk|, float32)|192-384, no route, segments)|"
        "softmax (64-128(|, long|, no route|, window)|256-512(|, tiles in a chunk|, window)|"
        "128-256(|, window), float32)"
    ),
    "8.0": "softmax 64-128, window",
    "8.6": "delta 128-256",
    "8.9": "others 64-64, float32",
    "10.0": "softmax 128-256, window",
    "12.0": "softmax 128-256",
}
"""The cases that are compiled, by compute capability."""

KERNELS = {
    "delta": {"invert", "summarise", "chain", "scan", "scan_back", "differentiate", "differentiate_gates"},
    "softmax": {
        "_index_kernel", "_forward_kernel", "_recompute_kernel", "_delta_kernel", "_own_chunk_kernel",
        "_backward_kernel", "_skipped_kernel", "_window_forward_kernel", "_window_backward_kernel",
    },
    "others": {"_step", "_attend", "_merge", "_forward_of_both", "forward", "backward", "add_rows"},
}  # fmt: skip


class Compiled(NamedTuple):
    """A line of `tests.kernels.compile_kernels`."""

    capability: str
    case: str
    kernel: str
    shared: int
    registers: int
    spilled: int
    warps: int
    problem: str | None


def compile_cases(*targets: str) -> list[Compiled]:
    process = subprocess.run(
        [sys.executable, "-m", "tests.kernels.compile_kernels", *targets],
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return [Compiled(*json.loads(line)) for line in process.stdout.splitlines()]


@pytest.fixture(scope="module")
def compiled() -> list[Compiled]:
    return compile_cases(*(f"{capability}={cases}" for capability, cases in CASES.items()))


def test_every_launch_fits(compiled: list[Compiled]) -> None:
    assert [x for x in compiled if x.problem is not None] == []


def test_every_gpu_is_reached(compiled: list[Compiled]) -> None:
    assert {x.capability for x in compiled} == CASES.keys()


@pytest.mark.parametrize("operation", KERNELS)
def test_cases_reach_every_kernel(compiled: list[Compiled], operation: str) -> None:
    assert {x.kernel for x in compiled if x.case.split()[0] == operation} == KERNELS[operation]


@pytest.mark.parametrize(
    ("needs", "part"),
    [
        ((101377, 255, 0, 8), "101377 bytes of shared memory, and the GPU has 101376"),
        ((1000, 255, 0, 16), "255 registers in 16 warps"),
        ((1000, 255, 3201, 8), "3201 bytes of local memory"),
        ((101376, 255, 3200, 8), None),
    ],
    ids=["shared", "registers", "spilled", "fits"],
)
def test_problems(needs: Any, part: str | None) -> None:
    from tests.kernels.compile_kernels import Needs, problem_of

    problem = problem_of(Needs(*needs), "8.6")
    assert problem is None if part is None else part in str(problem)
