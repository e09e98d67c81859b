"""Heads of q and k that several heads of v share, in the gated delta rule: equal to repeated heads."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import gated_delta_rule
from nas.kernels.gated_delta_rule import decode as linear_decode
from tests.kernels import oracle
from tests.kernels.cases import Inputs, Shape, assert_all_close, delta_inputs, results_and_gradients
from tests.kernels.decoding import decode_linear, state_from
from tests.kernels.triton_cases import assert_matches, on_cpu

pytest.importorskip("triton")
from nas.kernels.gated_delta_rule import triton_op
from tests.kernels.delta_cases import (
    assert_low_precision,
    cotangents_for,
    delta_rule,
    inputs_for,
    on_gpu_with_states,
    set_segments,
)

SHAPE = Shape(T=14, chunk_size=4, H=4, R=2)
INTERPRETED = Shape(T=20, chunk_size=16, B=1, H=4, R=1, K=8, V=4)


def with_groups(inputs: Inputs, groups: int) -> Inputs:
    """Return the inputs with the first ``groups`` heads of q and k."""
    return inputs | {name: inputs[name].detach()[:, :, :groups].clone().requires_grad_() for name in "qk"}


def repeated(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operation on q and k that are repeated to the heads of v."""

    def run(q: Tensor, k: Tensor, v: Tensor, **others: Any) -> Any:
        q, k = (x.repeat_interleave(v.shape[2] // x.shape[2], dim=2) for x in (q, k))
        return operation(q=q, k=k, v=v, **others)

    return run


@pytest.mark.parametrize("groups", [1, 2])
def test_reference_equals_repeated_heads(groups: int) -> None:
    inputs = with_groups(delta_inputs(SHAPE, "mixed"), groups)
    operation, definition = (
        functools.partial(x, chunk_size=4)
        for x in (
            functools.partial(gated_delta_rule, return_final_state=True, route_grad="full", impl="reference"),
            repeated(oracle.gated_delta_rule),
        )
    )
    cotangents = cotangents_for(SHAPE)
    for actual, expected in zip(
        results_and_gradients(operation, inputs, cotangents),
        results_and_gradients(definition, inputs, cotangents),
        strict=True,
    ):
        assert_all_close(actual, expected, atol=1e-10)


@on_cpu
@pytest.mark.parametrize(("groups", "segments"), [(2, True), (1, False)], ids=["2, segments", "1"])
def test_kernels_equal_repeated_heads(groups: int, segments: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if segments:
        set_segments(monkeypatch, 1)
    shape = INTERPRETED if segments else Shape(T=5, chunk_size=16, B=2, H=2, K=8, V=4)
    inputs, cotangents = with_groups(inputs_for(shape, "mixed"), groups), cotangents_for(shape)
    operation, definition = (
        functools.partial(x, chunk_size=16) for x in (delta_rule, repeated(oracle.gated_delta_rule))
    )
    assert_matches(operation, definition, inputs, cotangents)


@on_cpu
def test_a_trace_knows_the_results() -> None:
    inputs = with_groups(inputs_for(Shape(T=4, chunk_size=16, B=1, H=2, K=8, V=4), "mixed"), 1)
    q, k, v, g, beta, initial_state, route = (x.detach() for x in inputs.values())
    options = {"chunk_size": 16, "scale": 0.25, "full_route_grad": True}
    o, final, *saved = results = triton_op.run_forward(q, k, v, g, beta, route, initial_state, **options, save=True)
    of_trace = triton_op.fake_forward(q, k, v, g, beta, route, initial_state, **options, save=True)
    gradients, fake_gradients = (
        function(q, k, v, route, saved, o, final, **options)
        for function in (triton_op.run_backward, triton_op.fake_backward)
    )
    for actual, expected in zip((*results, *gradients), (*of_trace, *fake_gradients), strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)


@on_cpu
@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_steps_and_prefill_equal_repeated_heads(impl: str) -> None:
    inputs = with_groups(inputs_for(INTERPRETED, "mixed"), 2)
    exact = {name: x.double() for name, x in inputs.items()}
    expected, final = repeated(oracle.gated_delta_rule)(**exact, chunk_size=16)
    o, state = decode_linear(inputs, 16, state_from(inputs["initial_state"]), impl=impl)
    torch.testing.assert_close(o.double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(state.current.double(), final, rtol=0, atol=1e-5)
    del inputs["initial_state"], exact["initial_state"]
    expected, _ = repeated(oracle.gated_delta_rule)(**exact, chunk_size=16)
    seen = {name: x if name == "route" else x[:, :17] for name, x in inputs.items()}
    before, state = linear_decode.gated_delta_rule_prefill(**seen, chunk_size=16, impl=impl)  # type: ignore[arg-type]
    after, _ = decode_linear(inputs, 16, state, start=17, impl=impl)
    torch.testing.assert_close(torch.cat([before, after], dim=1).double(), expected, rtol=0, atol=1e-5)


def test_heads_that_do_not_divide_are_refused() -> None:
    q, v, g = torch.zeros(1, 5, 3, 4), torch.zeros(1, 5, 4, 4), torch.zeros(1, 5, 4)
    for function in (gated_delta_rule, linear_decode.gated_delta_rule_prefill):
        with pytest.raises(ValueError, match=r"^v has shape \[1, 5, 4, 4\]; .* a multiple of these 3 heads of q"):
            function(q, q, v, g, g)
        with pytest.raises(ValueError, match=r"^route has 3 routing heads .* must divide the 4 heads of v"):
            function(q[:, :, :2], q[:, :, :2], v, g, g, torch.zeros(1, 1, 3))


@pytest.mark.gpu
@pytest.mark.parametrize("value_dim", [128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gpu_matches_reference(dtype: torch.dtype, value_dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_segments(monkeypatch, 4)
    shape = Shape(T=1000, chunk_size=64, H=4, R=1, K=128, V=value_dim)
    inputs, cotangents = on_gpu_with_states(shape, "mixed", dtype)
    for groups in (1, 2):
        assert_low_precision(with_groups(inputs, groups), cotangents, chunk_size=64)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gpu_steps(dtype: torch.dtype) -> None:
    shape = Shape(T=70, chunk_size=16, H=4, R=1, K=128, V=256)
    inputs, _ = on_gpu_with_states(shape, "mixed", dtype)
    inputs = with_groups(inputs | {"initial_state": inputs["initial_state"].float()}, 2)
    exact = {name: x.double() for name, x in inputs.items()}
    expected, _ = repeated(oracle.gated_delta_rule)(**exact, chunk_size=16)
    o, _ = decode_linear(inputs, 16, state_from(inputs["initial_state"]), impl="triton")
    assert (o - expected).abs().max() < max(torch.finfo(dtype).eps, 1e-5) * expected.abs().max()
