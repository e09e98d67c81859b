"""The routed gated delta rule on Triton: interpreted on the CPU against the oracle, and at real shapes on a GPU."""

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import gated_delta_rule
from tests.kernels import oracle
from tests.kernels.cases import (
    RESETS,
    ROUTES,
    Inputs,
    Shape,
    results_and_gradients,
    with_resets,
    with_strong_writes,
)
from tests.kernels.triton_cases import (
    ATOL,
    CUDA,
    assert_backward_repeats,
    assert_close,
    assert_compiles,
    assert_graph_replays,
    assert_layout_does_not_matter,
    assert_matches,
    assert_never_waits,
    assert_runs_are_identical,
    cast,
    exact_results,
    on_cpu,
    require_memory,
)

pytest.importorskip("triton")
from nas.kernels.gated_delta_rule import triton_launch, triton_launch_back, triton_op
from tests.kernels.delta_cases import (
    assert_low_precision,
    cotangents_for,
    delta_rule,
    inputs_for,
    on_gpu_with_states,
    set_segments,
    set_tile,
)

SHAPES = (
    Shape(T=1, chunk_size=16, K=8, V=4),
    Shape(T=20, chunk_size=16, H=2, R=1, K=20, V=12),
    Shape(T=40, chunk_size=32, B=1, H=4, R=2, K=8, V=8),
    Shape(T=64, chunk_size=64, B=1, H=1, K=12, V=20),
    Shape(T=150, chunk_size=128, B=1, H=1, K=8, V=4),
    Shape(T=270, chunk_size=256, B=1, H=1, K=8, V=4),
    Shape(T=20, chunk_size=16, B=1, H=1, K=140, V=20),
)
"""One token, grouped heads with odd head dims, ragged, whole, chunks of several tiles, heads in several blocks."""

SMALL = Shape(T=40, chunk_size=16, B=1, H=1, K=8, V=4)
RAGGED = Shape(T=70, chunk_size=32, B=1, H=1, K=8, V=4)


def assert_matches_oracle(shape: Shape, route: str, route_grad: str = "full", inputs: Inputs | None = None) -> None:
    operation, definition = (
        functools.partial(one, chunk_size=shape.chunk_size) for one in (delta_rule, oracle.gated_delta_rule)
    )
    inputs = inputs or inputs_for(shape, route)
    assert_matches(operation, definition, inputs, cotangents_for(shape), route_grad)


@on_cpu
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_oracle(shape: Shape) -> None:
    assert_matches_oracle(shape, "mixed")


@on_cpu
@pytest.mark.parametrize(
    ("route", "route_grad"), [*((kind, "full") for kind in ROUTES), ("hard", "selected"), ("mixed", "selected")]
)
def test_every_kind_of_route(route: str, route_grad: str) -> None:
    assert_matches_oracle(SMALL, route, route_grad)


@on_cpu
def test_write_strengths_over_one() -> None:
    assert_matches_oracle(RAGGED, "mixed", inputs=with_strong_writes(inputs_for(RAGGED, "mixed")))


@on_cpu
@pytest.mark.parametrize("route", ["none", "hard", "mixed"])
def test_several_tiles_in_a_chunk(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_tile(monkeypatch, 16)
    assert_matches_oracle(RAGGED, route)


@on_cpu
@pytest.mark.parametrize(("tile", "route"), [(16, "none"), (16, "mixed"), (32, "mixed")])
def test_several_segments(tile: int, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_tile(monkeypatch, tile)
    set_segments(monkeypatch, 1)
    assert_matches_oracle(RAGGED, route)


@on_cpu
def test_segments_of_several_heads_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    set_segments(monkeypatch, 1)
    assert_matches_oracle(Shape(T=40, chunk_size=16, B=1, H=2, R=1, K=40, V=40), "mixed")


@on_cpu
@pytest.mark.parametrize(
    ("initial_state", "used", "segments"),
    [(False, "output", False), (False, "state", True), (True, "output", True), (True, "state", False)],
    ids=["from zeros, output", "from zeros, state, segments", "from a state, output, segments", "from a state, state"],
)
def test_what_is_given_and_used(
    initial_state: bool, used: str, segments: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if segments:
        set_segments(monkeypatch, 2)
    inputs = inputs_for(SMALL, "mixed")
    if not initial_state:
        del inputs["initial_state"]
    part = ("output", "state").index(used)

    def of(operation: Any) -> Any:
        return lambda **inputs: operation(**inputs, chunk_size=16, scale=-0.3)[part]

    operation = of(functools.partial(delta_rule, route_grad="full"))
    cotangents = [cotangents_for(SMALL)[part]]
    expected = exact_results(of(oracle.gated_delta_rule), inputs, cotangents)
    for actual_part, expected_part in zip(results_and_gradients(operation, inputs, cotangents), expected, strict=True):
        assert_close(actual_part, expected_part)


@on_cpu
@pytest.mark.parametrize("tile", [16, 32], ids="tile{}".format)
def test_strong_decay(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decay that forgets everything: exp(-g) would overflow, and no product may become 0 * inf."""
    set_tile(monkeypatch, tile)
    set_segments(monkeypatch, 1)
    shape = Shape(T=40, chunk_size=32, B=1, H=1, K=8, V=4)
    inputs = inputs_for(shape, "mixed")
    inputs["g"] = torch.full_like(inputs["g"], -1e4).requires_grad_()
    assert_matches_oracle(shape, "mixed", inputs=inputs)


@on_cpu
@pytest.mark.parametrize("where", RESETS)
@pytest.mark.parametrize(("tile", "reset"), [(16, -1e9), (32, -math.inf)])
def test_resets(tile: int, reset: float, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_tile(monkeypatch, tile)
    set_segments(monkeypatch, 1)
    assert_matches_oracle(RAGGED, "mixed", inputs=with_resets(inputs_for(RAGGED, "mixed"), where, reset))


@on_cpu
@pytest.mark.parametrize(
    ("dtype", "chunk_size", "length"),
    [
        (torch.bfloat16, 64, 96),
        (torch.bfloat16, 16, 40),
        (torch.bfloat16, 128, 192),
        (torch.float16, 64, 96),
        (torch.float16, 16, 40),
    ],
    ids=str,
)
def test_low_precision(dtype: torch.dtype, chunk_size: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held to twice the error of the reference where every product rounds its operands.

    Chunks of 64 are tiles, those of 16 are segments too, and those of 128 are two tiles each.
    """
    shape = Shape(T=length, chunk_size=chunk_size, B=1, H=1, K=20, V=80)
    if chunk_size == 16:
        set_segments(monkeypatch, 1)
    assert_low_precision(inputs_for(shape, "fractional", dtype), cotangents_for(shape, dtype), chunk_size=chunk_size)


@on_cpu
def test_memory_layout_does_not_matter() -> None:
    operation = functools.partial(delta_rule, chunk_size=16, route_grad="full")
    assert_layout_does_not_matter(operation, inputs_for(SHAPES[1], "mixed"), cotangents_for(SHAPES[1]))


@on_cpu
def test_causality_in_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No output depends on a later token, and no gradient of an early output depends on one."""
    set_tile(monkeypatch, 16)
    set_segments(monkeypatch, 1)
    inputs, gated = inputs_for(RAGGED, "fractional"), ("q", "k", "v", "g", "beta")
    o, _ = delta_rule(**inputs, chunk_size=32, route_grad="full")
    for t in (15, 31, 32):
        changed = {name: x.detach().clone() for name, x in inputs.items()}
        for name in gated:
            changed[name][:, t] *= 0.5
        changed["route"][:, t // 32] *= 0.5  # a chunk's route depends on its tokens and affects later chunks
        moved = (delta_rule(**changed, chunk_size=32)[0] - o).abs().amax((0, 2, 3))
        assert (moved[:t] == 0).all()
        assert moved[t] > 1e-4
    gradients = torch.autograd.grad(o[:, 32].sum(), list(inputs.values()))
    by_name = dict(zip(inputs, gradients, strict=True))
    assert (by_name["route"][:, 0] != 0).all()
    assert (by_name["route"][:, 1:] == 0).all()
    for name in gated:
        assert (by_name[name][:, :33] != 0).any(), name
        assert (by_name[name][:, 33:] == 0).all(), name


@on_cpu
def test_cast_to_the_widest_operand_and_back_to_v() -> None:
    inputs = inputs_for(SMALL, "mixed")
    for name in ("q", "g", "beta", "route", "initial_state"):
        inputs[name] = inputs[name].detach().bfloat16().requires_grad_()
    o, state = delta_rule(**inputs, chunk_size=16)
    assert state.dtype == torch.float32
    expected, _ = oracle.gated_delta_rule(**cast(inputs, torch.float32), chunk_size=16)
    torch.testing.assert_close(o, expected, rtol=ATOL, atol=ATOL)
    gradients = torch.autograd.grad(o.sum() + state.sum(), list(inputs.values()))
    assert [x.dtype for x in gradients] == [x.dtype for x in inputs.values()]
    inputs["v"] = inputs["v"].detach().bfloat16()
    assert delta_rule(**inputs, chunk_size=16)[0].dtype == torch.bfloat16


@on_cpu
def test_autocast_chooses_the_dtype() -> None:
    inputs = inputs_for(SMALL, "mixed")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o, state = delta_rule(**inputs, chunk_size=16)
        gradients = torch.autograd.grad(o.sum() + state.sum(), list(inputs.values()), retain_graph=True)
    expected, expected_state = delta_rule(
        **{name: x.bfloat16() if name in "qkv" else x for name, x in inputs.items()}, chunk_size=16
    )
    assert (o.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(o, expected)
    assert torch.equal(state, expected_state)
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


@on_cpu
@pytest.mark.parametrize("T", [64, 100])
def test_tiles_loaded_by_descriptors(T: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_segments(monkeypatch, 1)
    inputs = {
        name: x.bfloat16() if name in "qkv" else x
        for name, x in inputs_for(Shape(T=T, chunk_size=32, B=1, H=2, R=1, K=24, V=40), "mixed").items()
    }

    def results() -> list[Tensor]:
        o, state = delta_rule(**inputs, chunk_size=32, route_grad="full")
        return [o, state, *torch.autograd.grad(o.sum() + state.square().sum(), list(inputs.values()))]

    expected = results()
    chosen: list[bool] = []
    use = triton_launch.use_descriptors
    for module in (triton_launch, triton_launch_back):
        monkeypatch.setattr(module, "use_descriptors", lambda *call: chosen.append(use(*call)) or chosen[-1])
    monkeypatch.setattr(triton_launch, "has_tile_copies", lambda device: True)
    assert all(map(torch.equal, results(), expected))
    assert chosen == [True] * 4


@on_cpu
def test_nothing_is_kept_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    set_segments(monkeypatch, 1)
    inputs = inputs_for(SMALL, "mixed")
    kept: list[Any] = []
    forward = triton_op._forward
    monkeypatch.setattr(triton_op, "_forward", lambda *arguments: kept.append(forward(*arguments)) or kept[-1])
    expected = delta_rule(**inputs, chunk_size=16)
    assert all(x.numel() > 0 for x in kept[0][2:-1])  # the last is for calls that compute the states twice
    with torch.no_grad():
        actual = delta_rule(**inputs, chunk_size=16)
    for given in (actual, delta_rule(**{name: x.detach() for name, x in inputs.items()}, chunk_size=16)):
        assert all(x.grad_fn is None and torch.equal(x, y) for x, y in zip(given, expected, strict=True))
    assert all(x.numel() == 0 for results in kept[1:] for x in results[2:])


@on_cpu
def test_backward_twice_and_through_a_checkpoint() -> None:
    operation = functools.partial(gated_delta_rule, chunk_size=16, route_grad="full", impl="triton")
    assert_backward_repeats(operation, inputs_for(SMALL, "mixed"))


@on_cpu
@pytest.mark.parametrize(("segments", "route"), [(False, "none"), (True, "mixed")], ids=["whole", "segments"])
def test_compiles_into_one_graph(segments: bool, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if segments:
        set_segments(monkeypatch, 1)

    def operation(**inputs: Tensor) -> tuple[Tensor, Tensor]:
        o, state = delta_rule(**inputs, chunk_size=16, route_grad="full")
        return o * 2, state

    assert_compiles(operation, inputs_for(SMALL, route), cotangents_for(SMALL, torch.float32))


@on_cpu
@pytest.mark.parametrize("whole", [False, True], ids=["all_given", "least_given"])
def test_operators_keep_their_contracts(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not whole:
        set_segments(monkeypatch, 1)
    inputs = inputs_for(Shape(T=20, chunk_size=16, B=1, H=1, K=8, V=4), "none" if whole else "mixed")
    if whole:
        del inputs["initial_state"]
    tensors = [inputs.get(name) for name in ("q", "k", "v", "g", "beta", "route", "initial_state")]
    torch.library.opcheck(triton_op._forward.registered, (*tensors, 16, 0.25, True, True, True, True, None, None))
    detached = [x if x is None else x.detach() for x in tensors]
    o, final, *saved = triton_op._forward(*detached, 16, 0.25, True, True, True, True, None, None)
    q, k, v, _, _, route, _ = detached
    dfinal = None if whole else torch.randn_like(final)
    torch.library.opcheck(
        triton_op._backward.registered, (q, k, v, route, saved, torch.randn_like(o), dfinal, 16, 0.25, True)
    )


# On a GPU

GPU_CASES = (
    (torch.bfloat16, Shape(T=1000, chunk_size=64, R=1, K=128, V=256), "mixed", 4),
    (torch.bfloat16, Shape(T=1000, chunk_size=64, R=1, K=128, V=128), "mixed", 4),
    (torch.float16, Shape(T=1024, chunk_size=64, R=1, K=128, V=128), "none", None),
    (torch.bfloat16, Shape(T=1000, chunk_size=64, R=1, K=192, V=384), "hard", 4),
    (torch.bfloat16, Shape(T=1000, chunk_size=128, R=1, K=64, V=64), "mixed", 3),
    (torch.bfloat16, Shape(T=1000, chunk_size=32, R=1, K=60, V=100), "fractional", None),
    (torch.bfloat16, Shape(T=1000, chunk_size=16, R=1, K=32, V=32), "none", None),
    (torch.bfloat16, Shape(T=1000, chunk_size=256, R=1, K=16, V=20), "mixed", None),
    (torch.bfloat16, Shape(T=1000, chunk_size=64, R=1, K=256, V=512), "mixed", None),
    (torch.float16, Shape(T=1000, chunk_size=128, R=1, K=192, V=384), "fractional", None),
    (torch.float16, Shape(T=1000, chunk_size=16, R=1, K=16, V=20), "mixed", 16),
    (torch.float32, Shape(T=1000, chunk_size=64, R=1, K=128, V=256), "mixed", 4),
    (torch.float32, Shape(T=1000, chunk_size=256, R=1, K=60, V=100), "hard", None),
    (torch.float32, Shape(T=1000, chunk_size=32, R=1, K=256, V=512), "fractional", None),
)
"""Every head dim, dtype, chunk size and kind of route at least once: dtype, shape, route, chunks of a
segment (None: one segment). The list is short because each case compiles its own kernels."""


def gpu_case_id(case: tuple[Any, ...]) -> str:
    dtype, shape, *_ = case
    return f"{str(dtype).removeprefix('torch.')}-C{shape.chunk_size}-K{shape.K}-V{shape.V}"


@pytest.mark.gpu
@pytest.mark.parametrize("case", GPU_CASES, ids=gpu_case_id)
def test_gpu_matches_reference(case: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    dtype, shape, route, chunks = case
    set_segments(monkeypatch, chunks or shape.num_chunks)
    given = on_gpu_with_states(shape, route, dtype)
    assert_low_precision(*given, chunk_size=shape.chunk_size)


@pytest.mark.gpu
@pytest.mark.parametrize("where", RESETS)
@pytest.mark.parametrize("reset", [-104.5, -1e4, -1e9, -math.inf], ids="g={:g}".format)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gpu_resets(dtype: torch.dtype, reset: float, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = GPU_CASES[0][1]
    set_segments(monkeypatch, 4)
    inputs, cotangents = on_gpu_with_states(shape, "mixed", dtype)
    inputs = with_resets(inputs, where, reset)
    assert_low_precision(inputs, cotangents, chunk_size=shape.chunk_size)
    _, gradients = results_and_gradients(
        functools.partial(delta_rule, chunk_size=shape.chunk_size, route_grad="full"), inputs, cotangents
    )
    assert (gradients["g"][inputs["g"] == reset] == 0).all()


TIMED = tuple(
    Shape(B=batch, T=32768 // batch, chunk_size=64, H=heads, K=128, V=dim)
    for batch in (1, 4, 16)
    for heads, dim in ((6, 256), (16, 128))
)
"""Shapes of `experiments.kernel_speed`, with which the kernels split sequences in different ways or not at all."""


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gpu_write_strengths_over_one(dtype: torch.dtype) -> None:
    shape = GPU_CASES[0][1]
    inputs, cotangents = on_gpu_with_states(shape, "mixed", dtype)
    assert_low_precision(with_strong_writes(inputs), cotangents, chunk_size=shape.chunk_size)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", TIMED, ids=str)
def test_gpu_timed_shapes(shape: Shape) -> None:
    """Results with this GPU's split are right, and equal in every run."""
    inputs, cotangents = on_gpu_with_states(shape, "mixed")
    assert_low_precision(inputs, cotangents, chunk_size=64)
    operation = functools.partial(delta_rule, chunk_size=64, route_grad="full")
    assert_runs_are_identical(operation, inputs, cotangents)


@pytest.mark.gpu
def test_gpu_never_waits_and_graph_replays_with_another_route(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = GPU_CASES[0][1]
    set_segments(monkeypatch, 4)
    inputs, cotangents = on_gpu_with_states(shape, "hard")
    operation = functools.partial(delta_rule, chunk_size=64, route_grad="full")
    assert_never_waits(operation, inputs)
    assert_graph_replays(operation, shape, inputs, cotangents, rtol=0, atol=0)


@pytest.mark.gpu
def test_gpu_more_than_2_to_the_31_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """v, and the states before the tiles, are so large; the last sequence must come out as it does by itself."""
    require_memory(110)
    shape = Shape(B=2, T=2**19 + 1000, chunk_size=64, H=8, R=1, K=128, V=256)
    set_segments(monkeypatch, shape.num_chunks // 4)
    sizes = (shape.B, shape.T, shape.H)
    inputs: Inputs = {"v": torch.randn(*sizes, shape.V, device=CUDA, dtype=torch.bfloat16)}
    assert inputs["v"].numel() > 2**31
    for name in ("q", "k"):  # of length near 1, like normalised vectors
        inputs[name] = torch.randn(*sizes, shape.K, device=CUDA, dtype=torch.bfloat16).mul_(shape.K**-0.5)
    inputs |= {"g": torch.rand(sizes, device=CUDA).mul_(-0.05), "beta": torch.rand(sizes, device=CUDA)}
    inputs["route"] = torch.rand(shape.B, shape.num_chunks, 1, device=CUDA).round_()
    inputs["initial_state"] = torch.randn(shape.B, shape.H, shape.K, shape.V, device=CUDA)

    def last_of(inputs: Inputs) -> list[Tensor]:
        """Return o, the final state and all gradients of the last sequence, with v as the cotangent of o."""
        leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
        results = delta_rule(**leaves, chunk_size=64, route_grad="full")
        cotangents = [inputs["v"], torch.ones_like(results[1])]
        gradients = torch.autograd.grad(results, list(leaves.values()), cotangents)
        return [x[-1].clone() for x in (*results, *gradients)]

    alone = last_of({name: x[-1:] for name, x in inputs.items()})
    for among, expected in zip(last_of(inputs), alone, strict=True):
        assert expected.isfinite().all()
        assert torch.equal(among, expected)
    torch.cuda.empty_cache()
