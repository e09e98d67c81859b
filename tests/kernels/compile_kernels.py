"""Compiles the kernels for GPUs that this machine need not have, and prints what each launch needs of the GPU.

    python -m tests.kernels.compile_kernels 8.6 12.0               # every case, for these compute capabilities
    python -m tests.kernels.compile_kernels 8.6="softmax 64-128.*" # the cases that this expression matches

Each line of the output is a JSON list: capability, case, kernel, `Needs` in order, and what does not fit (null if all
does). This must be a separate process without TRITON_INTERPRET: that is read when triton and the kernels are imported.
The launchers are the real ones. Their tensors are on torch's "meta" device, with shapes and strides but no memory, and
triton gets a driver that knows no more than its target. A launch stops after its compilation, so the compiled kernels
are those that a GPU would launch.
"""

import functools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from nas.kernels import machine
from nas.kernels.branch_merge import triton_op as branch_merge
from nas.kernels.chunk_softmax_attention import (
    triton_backward,
    triton_decode,
    triton_forward,
    triton_index,
    triton_own_chunks,
    triton_skipped,
    triton_window,
    triton_window_decode,
)
from nas.kernels.delta_gates import triton_op as delta_gates
from nas.kernels.gated_delta_rule import hopper, triton_launch, triton_op, triton_plan
from nas.kernels.gated_delta_rule import triton_decode as delta_decode
from nas.kernels.head_norms import triton_decode as norms_decode
from nas.kernels.head_norms import triton_op as head_norms
from nas.kernels.mixed_routes import triton_op as mixed_routes
from nas.kernels.residual_norm import triton_op as residual_norm
from nas.kernels.short_convolution import triton_decode as convolution_decode
from nas.kernels.short_convolution import triton_op as short_convolution
from nas.kernels.swiglu import triton_op as swiglu

MULTIPROCESSORS = 132
"""Multiprocessors of an H100 or H200 (SXM): the split of sequences into segments depends on them."""

SHARED_MEMORY = {"8.0": 166912, "8.6": 101376, "8.9": 101376, "9.0": 232448, "10.0": 232448, "12.0": 101376}
"""Largest shared memory of a program in bytes by compute capability: 163, 99, 99, 227, 227 and 99 KiB (CUDA programming
guide, technical specifications)."""

REGISTERS = 65536
"""Registers of a multiprocessor, all of which one program may have."""

MOST_SPILLED = 3200
"""Largest local memory of a thread in bytes: the backward pass of float32 needs the most."""

empty = functools.partial(torch.empty, device="meta")


class Driver:
    """The part of triton's driver that a compilation needs."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


class Needs(NamedTuple):
    """What a compiled kernel needs: bytes of shared memory, registers and bytes of local memory a thread, and warps."""

    shared: int
    registers: int
    spilled: int
    warps: int


class Case(NamedTuple):
    """Settings that the choice of a launch depends on."""

    B: int
    T: int
    H: int
    K: int
    V: int
    chunk_size: int
    routed: bool
    dtype: torch.dtype = torch.bfloat16
    window: int | None = None
    documents: int = 0
    group: int = 1

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return q, k, v, the gradient of the output, and the route [B, N, H] or None."""
        q, k = (empty(self.B, self.T, self.H // self.group, self.K, dtype=self.dtype) for _ in range(2))
        v, do = (empty(self.B, self.T, self.H, self.V, dtype=self.dtype) for _ in range(2))
        route = empty(self.B, self.T // self.chunk_size, self.H) if self.routed else None
        return q, k, v, do, route


SHORT = (8, 4096, 8)
"""B, T, H with enough programs for every multiprocessor; the number of chunks, of 64 or 256, is a multiple of 16."""

LONG = (1, 32768, 4)
"""B, T, H that the gated delta rule splits into segments, and for which softmax attention uses large blocks."""

DIMS = ((64, 64), (64, 128), (128, 128), (128, 256))
"""Head dims K and V of the models in use."""

HOPPER_DELTA = {
    "128-256": Case(*SHORT, 128, 256, 64, True),
    "128-256, no route": Case(*SHORT, 128, 256, 64, False),
    "128-256, no route, segments": Case(*LONG, 128, 256, 64, False),
    "128-256, tiles in a chunk": Case(*SHORT, 128, 256, 256, True),
    "192-384, no route, segments": Case(*LONG, 192, 384, 64, False),
    "128-256, float32": Case(*SHORT, 128, 256, 64, True, torch.float32),
    "128-128, groups": Case(*SHORT, 128, 128, 64, True, group=4),
    "128-128, packed": Case(*LONG, 128, 128, 64, True, documents=50),
    "128-128, packed, segments": Case(*LONG, 128, 128, 64, True, documents=3),
}
HOPPER_SOFTMAX = {
    "64-128": Case(*SHORT, 64, 128, 64, True),
    "64-128, long": Case(*LONG, 64, 128, 64, True),
    "64-128, no route": Case(*SHORT, 64, 128, 64, False),
    "256-512": Case(*SHORT, 256, 512, 64, True),
    "256-512, tiles in a chunk": Case(*SHORT, 256, 512, 256, True),
    "128-256, float32": Case(*SHORT, 128, 256, 64, True, torch.float32),
    "64-128, window": Case(*SHORT, 64, 128, 64, False, window=512),
    "256-512, window": Case(*SHORT, 256, 512, 64, False, window=512),
    "128-256, window, float32": Case(*SHORT, 128, 256, 64, False, torch.float32, window=512),
}
"""The head dims K-V and further settings; bfloat16 by default. Each case costs seconds for every kernel new in it."""


def every_shape() -> Iterator[tuple[str, Case]]:
    """Yield the shapes in use, with and without route, in both dtypes."""
    for key_dim, value_dim in DIMS:
        for dtype, suffix in ((torch.bfloat16, ""), (torch.float32, ", float32")):
            name = f"{key_dim}-{value_dim}"
            yield f"{name}{suffix}", Case(*SHORT, key_dim, value_dim, 64, True, dtype)
            yield f"{name}, chunks of 16{suffix}", Case(*SHORT, key_dim, value_dim, 16, True, dtype)
            yield f"{name}, no route{suffix}", Case(*SHORT, key_dim, value_dim, 64, False, dtype)
        yield f"{name}, long", Case(*LONG, key_dim, value_dim, 64, True)


def every_window() -> Iterator[tuple[str, Case]]:
    """Yield the shapes in use with a window."""
    for key_dim, value_dim in DIMS:
        for dtype, suffix in ((torch.bfloat16, ""), (torch.float32, ", float32")):
            case = Case(*SHORT, key_dim, value_dim, 64, False, dtype, window=512)
            yield f"{key_dim}-{value_dim}, window{suffix}", case


def launch_delta(case: Case) -> None:
    """Launch forward and backward of the gated delta rule, with an initial state and the route's full gradient."""
    q, k, v, do, route = case.tensors()
    g, beta = (q.new_empty(v.shape[:3], dtype=torch.float32) for _ in range(2))
    state = q.new_empty(case.documents or case.B, case.H, case.K, case.V, dtype=torch.float32)
    options: dict[str, Any] = {"chunk_size": case.chunk_size, "scale": case.K**-0.5, "full_route_grad": True}
    if case.documents:
        borders = [i * case.T // case.documents for i in range(case.documents + 1)]
        options["tables"], *options["layout"] = documents = triton_plan.documents_of(borders, q, v, case.chunk_size)
        route = empty(1, documents.chunks, case.H)
    _, _, *saved = triton_op.run_forward(q, k, v, g, beta, route, state, **options, save=True)
    triton_op.run_backward(q, k, v, route, saved, do, state, **options)


def launch_softmax(case: Case) -> None:
    """Launch forward and backward of softmax attention, with the route's full gradient if there is a route."""
    q, k, v, do, route = case.tensors()
    if case.window is not None:
        o, lse = triton_window.forward(q, k, v, case.window, case.K**-0.5)
        triton_window.backward(do, q, k, v, o, lse, case.window, case.K**-0.5)
        return
    options = {"chunk_size": case.chunk_size, "scale": case.K**-0.5}
    index = None if route is None else triton_index.build(route)
    o, lse = triton_forward.forward(q, k, v, index, **options)
    gradients = triton_backward.backward(do, q, k, v, o, lse, index, **options, route_gradient=route is not None)
    *_, delta, dweight = gradients
    if index is not None and dweight is not None:
        triton_skipped.add_skipped(dweight, do, q, k, v, lse, delta, index, **options)


def launch_others(case: Case) -> None:
    """Launch a step of decoding of both operations, and the functions around them, forward and backward."""
    q, _, v, _, _ = case.tensors()
    channels = case.H * case.V
    row, value = q[:, 0], v[:, 0]
    gate = empty(case.B, case.H)
    state = empty(case.B, case.H, case.K, case.V)
    delta_decode.step(row, row, value, gate, gate, state, gate, 1.0)
    pages, chunks = 64, 16
    keys, values = (empty(pages, 1, case.chunk_size, dim, dtype=case.dtype) for dim in (case.K, case.V))
    table, kept = (empty(case.B, case.H, *size, dtype=torch.int32) for size in ((chunks,), ()))
    fill = empty(case.B, dtype=torch.int32)
    weight = empty(case.B, case.H, chunks)
    triton_decode.step(row, row, value, keys, values, table, weight, kept, kept, fill, 1.0)
    rings = (empty(case.B, case.H, 512, dim, dtype=case.dtype) for dim in (case.K, case.V))
    triton_window_decode.step(row, row, value, *rings, empty(case.B, dtype=torch.int64), 1.0)

    x = empty(case.B, case.T, channels, dtype=case.dtype)
    norm = empty(case.V)
    for given in (x, x.float()):  # of a head, and of the residual stream
        both = head_norms._run_forward(given, norm, case.H // 2, case.H, 1e-6, x.dtype)
        head_norms._run_backward(*both, given, norm, case.H // 2, case.H, 1e-6)
    columns, vector = empty(case.B, case.T, case.H, dtype=case.dtype), empty(case.H)
    for bias in (None, vector):
        gates = (columns, columns, vector, vector, bias, 1.0)
        delta_gates._run_backward(*delta_gates._run_forward(*gates), *gates)
    gain = empty(channels)
    for stream in (x, x.float()):
        total, y = residual_norm._run_forward(stream, x, gain, 1e-6, x.dtype)
        for dtotal in (None, total):
            residual_norm._run_backward(dtotal, y, total, gain, 1e-6, stream.dtype, x.dtype)
    for heads in ((case.H // 2, case.H), (None, case.H)):
        norms_decode.norms_of_both(x[:, :1], x[:, :1], norm, norm, *heads, 1e-6)
    norms_decode.norms_of_both(x[:, :1], x[:, :1], None, None, case.H, None, 1e-6)
    scores = empty(case.B, case.T, 2 * case.H, dtype=case.dtype)
    for mixture in (None, empty(3)):
        merged = (x, x, norm, norm, scores, x, mixture, 1e-6)
        branch_merge._run_backward(branch_merge._run_forward(*merged), *merged)
    for heads in (0, case.H):
        for begins in (None, empty(case.T, dtype=torch.int64)):
            short_convolution._run_backward(x, x, empty(channels, 4), begins, heads)
            short_convolution._run_forward(x, empty(channels, 4), begins, heads)
    weights = empty(case.B, case.T // 16, 2, 2, dtype=case.dtype)
    mixed_routes._run_backward(mixed_routes._run_forward(weights, empty(3)), weights, empty(3))
    convolution_decode.step(x[:, 0], x[:, :3].contiguous(), empty(channels, 4, dtype=case.dtype))
    swiglu._run_backward(swiglu._run_forward(x), x)


OTHERS = {
    "128-256": Case(*SHORT, 128, 256, 64, True),
    "64-64, float32": Case(*SHORT, 64, 64, 64, True, torch.float32),
}

CASES: tuple[tuple[str, dict[str, Case], Callable[[Case], None]], ...] = (
    ("delta", HOPPER_DELTA | dict(every_shape()), launch_delta),
    ("softmax", HOPPER_SOFTMAX | dict(every_shape()) | dict(every_window()), launch_softmax),
    ("others", OTHERS, launch_others),
)
"""The cases of each operation and the function that launches one."""


@functools.cache
def needs_of(cubin: bytes, shared: int, warps: int) -> Needs:
    """Read registers and local memory out of the machine code, without a driver."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return Needs(shared, used["REG"], used["STACK"] + used["LOCAL"], warps)


def problem_of(needs: Needs, capability: str) -> str | None:
    """Return what a kernel needs more of than a GPU has; None if it fits."""
    if needs.shared > SHARED_MEMORY[capability]:
        return f"{needs.shared} bytes of shared memory, and the GPU has {SHARED_MEMORY[capability]}"
    if needs.registers * needs.warps * 32 > REGISTERS:
        return f"{needs.registers} registers in {needs.warps} warps, and the GPU has {REGISTERS}"
    if needs.spilled > MOST_SPILLED:
        return f"{needs.spilled} bytes of local memory a thread"
    return None


def compile_all(capability: str, wanted: str) -> None:
    """Print the needs of every kernel of the cases that match ``wanted``, compiled for ``capability``."""
    triton.runtime.driver.set_active(Driver(int(capability.replace(".", ""))))
    triton_plan.multiprocessors = lambda device: MULTIPROCESSORS
    hopper.runs_on = lambda device: capability == "9.0"
    triton_launch.has_tile_copies = lambda device: int(capability.split(".")[0]) >= 9
    large = int(capability.split(".")[0]) in machine.LARGE_SHARED_MEMORY
    for module in (triton_plan, triton_backward, triton_forward, triton_own_chunks, triton_skipped, triton_window):
        module.has_large_shared_memory = lambda device: large
    run = JITFunction.run
    case_name = ""

    def compile_only(kernel: JITFunction, *args: Any, **kwargs: Any) -> None:
        compiled = run(kernel, *args, **kwargs | {"warmup": True})  # the same kernel again comes from triton's cache
        needs = needs_of(compiled.asm["cubin"], compiled.metadata.shared, compiled.metadata.num_warps)
        line = [capability, case_name, kernel.__name__, *needs, problem_of(needs, capability)]
        print(json.dumps(line), flush=True)

    JITFunction.run = compile_only
    try:
        for operation, cases, launch in CASES:
            for name, case in cases.items():
                case_name = f"{operation} {name}"
                if re.fullmatch(wanted, case_name):
                    launch(case)
    finally:
        JITFunction.run = run


if __name__ == "__main__":
    for target in sys.argv[1:]:
        capability, _, cases = target.partition("=")
        compile_all(capability, cases or ".*")
