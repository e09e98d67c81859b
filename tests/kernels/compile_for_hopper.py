"""Compiles the kernels of the operations for Hopper without a GPU, and prints the shared memory of each launch.

    python -m tests.kernels.compile_for_hopper

prints {case: {kernel: bytes}} as JSON, the largest of a kernel's launches in the case. It must be a separate process
without TRITON_INTERPRET: that is read when triton and the kernels are imported. The launchers are the real ones. Their
tensors are on torch's "meta" device, with shapes and strides but no memory, and triton gets a driver of an H100 alone.
A launch stops after its compilation, so the compiled kernels are those that a GPU would launch.
"""

import functools
import json
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from nas.kernels.chunk_softmax_attention import (
    triton_backward,
    triton_forward,
    triton_index,
    triton_skipped,
    triton_window,
)
from nas.kernels.gated_delta_rule import triton_launch, triton_op

MULTIPROCESSORS = 132
"""Multiprocessors of an H100 or H200 (SXM): the split of sequences into segments depends on them."""


class Hopper:
    """The part of triton's driver that a compilation needs."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


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

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return q, k, v, the gradient of the output, and the route [B, N, H] or None."""
        empty = functools.partial(torch.empty, device="meta")
        q, k = (empty(self.B, self.T, self.H, self.K, dtype=self.dtype) for _ in range(2))
        v, do = (empty(self.B, self.T, self.H, self.V, dtype=self.dtype) for _ in range(2))
        route = empty(self.B, self.T // self.chunk_size, self.H) if self.routed else None
        return q, k, v, do, route


SHORT = (8, 4096, 8)
"""B, T, H with enough programs for every multiprocessor; the number of chunks, of 64 or 256, is a multiple of 16."""

LONG = (1, 32768, 4)
"""B, T, H that the gated delta rule splits into segments, and for which softmax attention uses large blocks."""

DELTA = {
    "128-256": Case(*SHORT, 128, 256, 64, True),
    "128-256, no route": Case(*SHORT, 128, 256, 64, False),
    "128-256, no route, segments": Case(*LONG, 128, 256, 64, False),
    "128-256, tiles in a chunk": Case(*SHORT, 128, 256, 256, True),
    "192-384, no route, segments": Case(*LONG, 192, 384, 64, False),
    "128-256, float32": Case(*SHORT, 128, 256, 64, True, torch.float32),
}
SOFTMAX = {
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


def launch_delta(case: Case) -> None:
    """Launch forward and backward of the gated delta rule, with an initial state and the route's full gradient."""
    q, k, v, do, route = case.tensors()
    g, beta = (q.new_empty(q.shape[:3], dtype=torch.float32) for _ in range(2))
    state = q.new_empty(case.B, case.H, case.K, case.V, dtype=torch.float32)
    options = {"chunk_size": case.chunk_size, "scale": case.K**-0.5, "full_route_grad": True}
    _, _, *saved = triton_op.run_forward(q, k, v, g, beta, route, state, **options, save=True)
    triton_op.run_backward(q, k, v, beta, route, saved, do, state, **options)


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


def shared_memory() -> dict[str, dict[str, int]]:
    """Return the shared memory in bytes of each case's kernels."""
    triton.runtime.driver.set_active(Hopper())
    triton_launch.multiprocessors = lambda device: MULTIPROCESSORS
    run = JITFunction.run
    asked: dict[str, int] = {}

    def compile_only(kernel: JITFunction, *args: Any, **kwargs: Any) -> None:
        compiled = run(kernel, *args, **kwargs | {"warmup": True})  # the same kernel again comes from triton's cache
        asked[kernel.__name__] = max(asked.get(kernel.__name__, 0), compiled.metadata.shared)

    JITFunction.run = compile_only
    result = {}
    for operation, cases, launch in (("delta", DELTA, launch_delta), ("softmax", SOFTMAX, launch_softmax)):
        for name, case in cases.items():
            asked.clear()
            launch(case)
            result[f"{operation} {name}"] = dict(asked)
    return result


if __name__ == "__main__":
    print(json.dumps(shared_memory()))
