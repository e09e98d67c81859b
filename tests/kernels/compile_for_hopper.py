"""Compiles what the two operations launch for Hopper, and prints the shared memory each launch asks for, without a GPU.

    python -m tests.kernels.compile_for_hopper

prints {case: {kernel: bytes}} as JSON, the most of a kernel's launches in the case. It must be a process of its own,
without TRITON_INTERPRET: that is read when triton and the kernels are imported. The launchers are the real ones. They
get tensors of torch's "meta" device, which have shapes and strides and no memory, and triton gets a driver that knows
an H100 and nothing else; a launch goes as far as its compilation. What is compiled is therefore what would be launched.
"""

import functools
import json
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from kernels.chunk_softmax_attention import triton_backward, triton_forward, triton_index, triton_skipped
from kernels.gated_delta_rule import triton_launch

MULTIPROCESSORS = 132
"""Of an H100 or H200 (SXM): how sequences are split into segments depends on it."""


class Hopper:
    """As much of triton's driver as a compilation needs."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Case(NamedTuple):
    """A call: sizes as in the operations, a route or none (chunk_size alone says how long tiles may be)."""

    B: int
    T: int
    H: int
    K: int
    V: int
    chunk_size: int
    routed: bool = True
    dtype: torch.dtype = torch.bfloat16

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """q, k, v, the gradient of the output, and the route [B, N, H] or None."""
        empty = functools.partial(torch.empty, device="meta", dtype=self.dtype)
        q, k = (empty(self.B, self.T, self.H, self.K) for _ in range(2))
        v, do = (empty(self.B, self.T, self.H, self.V) for _ in range(2))
        chunks = -(-self.T // self.chunk_size)
        return q, k, v, do, empty(self.B, chunks, self.H, dtype=torch.float32) if self.routed else None


MANY_SHORT = {"B": 16, "T": 2048, "H": 8}
ONE_LONG = {"B": 1, "T": 32768, "H": 4}
"""The gated delta rule splits it into segments."""

DELTA = {
    f"delta {shape} {dt} K={K} V={V} C={C} {'route' if r else 'plain'}": Case(
        **sz, K=K, V=V, chunk_size=C, routed=r, dtype=getattr(torch, dt)
    )
    for dt in ("bfloat16", "float32")
    for K, V in ((128, 256), (192, 384))
    for C in (64, 256)
    for r in (True, False)
    for shape, sz in (("short", MANY_SHORT), ("long", ONE_LONG))
}
SOFTMAX = {
    f"softmax {shape} {dt} K={K} V={V} C={C} {'route' if r else 'plain'}": Case(
        **sz, K=K, V=V, chunk_size=C, routed=r, dtype=getattr(torch, dt)
    )
    for dt in ("bfloat16", "float32")
    for K, V in ((64, 128), (128, 256), (256, 512))
    for C in (64, 256)
    for r in (True, False)
    for shape, sz in (("short", MANY_SHORT), ("long", ONE_LONG))
}


def launch_delta(case: Case) -> None:
    """Forward and backward of the gated delta rule, as for a call with states and with the route's full gradient."""
    q, k, v, do, route = case.tensors()
    g, beta = (q.new_empty(q.shape[:3], dtype=torch.float32) for _ in range(2))
    state = q.new_empty(case.B, case.H, case.K, case.V, dtype=torch.float32)
    options = {"chunk_size": case.chunk_size, "scale": case.K**-0.5, "decay_skipped": True}
    _, _, saved = triton_launch.forward(q, k, v, g, beta, route, state, **options, save=True)
    triton_launch.backward(q, k, v, beta, route, saved, do, state, **options, full_route_grad=True)


def launch_softmax(case: Case) -> None:
    """Forward and backward of softmax attention, with the route's full gradient."""
    q, k, v, do, route = case.tensors()
    options = {"chunk_size": case.chunk_size, "scale": case.K**-0.5}
    index = None if route is None else triton_index.build(route)
    o, lse = triton_forward.forward(q, k, v, index, **options)
    *_, delta, dweight = triton_backward.backward(
        do, q, k, v, o, lse, index, **options, route_gradient=route is not None
    )
    if index is not None:
        triton_skipped.add_skipped(dweight, do, q, k, v, lse, delta, index, **options)


def shared_memory() -> dict[str, dict[str, int]]:
    """For each case the shared memory in bytes that its kernels ask for."""
    triton.runtime.driver.set_active(Hopper())
    triton_launch.multiprocessors = lambda device: MULTIPROCESSORS
    run = JITFunction.run
    asked: dict[str, int] = {}

    def compile_only(kernel: JITFunction, *args: Any, **kwargs: Any) -> None:
        compiled = run(kernel, *args, **kwargs | {"warmup": True})  # a kernel compiled before comes from triton's cache
        name = kernel.__name__
        asked[name] = max(asked.get(name, 0), compiled.metadata.shared)

    JITFunction.run = compile_only
    result = {}
    for cases, launch in ((DELTA, launch_delta), (SOFTMAX, launch_softmax)):
        for name, case in cases.items():
            asked.clear()
            launch(case)
            result[name] = dict(asked)
    return result


if __name__ == "__main__":
    print(json.dumps(shared_memory()))
