"""Decay and write strength against their definition, and Triton's against the reference in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels.delta_gates import delta_gates
from nas.kernels.joint_gradient import split
from tests.kernels.cases import Inputs
from tests.kernels.elementwise import MODEL_BATCH, MODEL_LENGTH, assert_kernels_are_right, leaf


def case(*shape: int, **of: Any) -> Inputs:
    vectors = {name: leaf(shape[-1], **of) for name in ("log_rate", "decay_bias", "write_bias")}
    return {"decay": leaf(*shape, **of), "write": leaf(*shape, **of)} | vectors


def both(impl: Any = "auto", **inputs: Tensor) -> Tensor:
    """[2, B, T, H]: g and beta in the dtype of decay."""
    return torch.stack(delta_gates(**inputs, strongest=2.0, impl=impl)).to(inputs["decay"].dtype)


@pytest.mark.parametrize("strongest", [1, 2.0])
def test_the_reference_is_the_definition(strongest: float) -> None:
    decay, write, *vectors = (x.detach().double() for x in case(2, 7, 3).values())
    log_rate, decay_bias, write_bias = vectors
    g, beta = delta_gates(decay, write, *vectors, strongest=strongest)
    torch.testing.assert_close(g, -log_rate.exp() * (1 + (decay + decay_bias).exp()).log())
    torch.testing.assert_close(beta, strongest / (1 + (-write - write_bias).exp()))
    unbiased = delta_gates(decay, write + write_bias, log_rate, decay_bias, strongest=strongest)
    assert all(map(torch.equal, unbiased, (g, beta)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 167, 6)], ids=str)
def test_kernels(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs = case(*shape, dtype=dtype)
    assert_kernels_are_right(both, inputs)
    del inputs["write_bias"]
    assert_kernels_are_right(both, inputs)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's sigmoid; it is 0 there
def test_small_and_large_decays_keep_their_relative_precision() -> None:
    values = torch.cat([torch.linspace(-60, 60, 481), torch.tensor([-1e4, 1e4])])
    decay = values.view(1, -1, 1).requires_grad_()
    g, beta = delta_gates(decay, decay.detach(), torch.zeros(1), torch.zeros(1), impl="triton")
    torch.testing.assert_close(beta, decay.detach().sigmoid())
    right = torch.nn.functional.softplus(decay.double(), threshold=40)
    torch.testing.assert_close(-g.double(), right, rtol=1e-5, atol=0)
    (slope,) = torch.autograd.grad(-g.sum(), decay)
    torch.testing.assert_close(slope.double(), decay.double().sigmoid(), rtol=1e-5, atol=0)


def test_results_are_float32_and_gradients_of_parts_are_in_place() -> None:
    whole, vectors = leaf(2, 5, 9, dtype=torch.bfloat16), (leaf(4), leaf(4), leaf(4))
    parts = split(whole * 1, (4, 4, 1))
    g, beta = delta_gates(*parts[:2], *vectors, impl="triton")
    assert g.dtype == beta.dtype == torch.float32
    of_parts = torch.autograd.grad(g.sum() + beta.sum(), parts[:2])
    assert [x.stride() for x in of_parts] == [(45, 9, 1)] * 2
    reference = torch.autograd.grad(sum(x.sum() for x in delta_gates(*parts[:2], *vectors)), parts[:2])
    for own, right in zip(of_parts, reference, strict=True):
        torch.testing.assert_close(own, right, rtol=2**-6, atol=2**-8)


def test_the_operators_are_well_formed() -> None:
    *unbiased, bias = (x.detach() for x in case(2, 3, 4).values())
    delta_gates(*unbiased, bias, impl="triton")
    operators = torch.ops.nas_kernels
    for last in (None, bias):
        torch.library.opcheck(operators.delta_gates.default, (*unbiased, last, 2.0))
        torch.library.opcheck(operators.delta_gates_backward.default, (*unbiased[:2], *unbiased, last, 2.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decay": torch.zeros(3, 4)}, r"decay has shape \[3, 4\]; it must be \[B, T, H\]"),
        ({"write": torch.zeros(2, 3, 1)}, r"write has shape \[2, 3, 1\]; it must be the shape of decay = \[2, 3, 4\]"),
        ({"decay_bias": torch.zeros(3)}, r"decay_bias has shape \[3\]; it must be \[H\] = \[4\]"),
        ({"write_bias": torch.zeros(5)}, r"write_bias has shape \[5\]; it must be \[H\] = \[4\]"),
        ({"decay_bias": torch.zeros(4).int()}, r"decay_bias has dtype torch.int32; .* floating-point"),
        ({"strongest": -1.0}, r"strongest=-1.0 is not allowed; it must be a finite number of at least 0"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"decay": torch.zeros(2, 3, 4).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take"),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        delta_gates(**{name: x.detach() for name, x in case(2, 3, 4).items()} | changed)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 16])
def test_kernels_of_a_decoded_token(batch: int) -> None:
    assert_kernels_are_right(both, case(batch, 1, 6, device="cuda", dtype=torch.bfloat16))


@pytest.mark.gpu
def test_kernels_at_the_size_of_the_model() -> None:
    inputs = case(MODEL_BATCH, MODEL_LENGTH, 6, device="cuda")
    inputs |= {name: leaf(*inputs[name].shape, dtype=torch.bfloat16, device="cuda") for name in ("decay", "write")}
    assert_kernels_are_right(both, inputs)
