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
    vectors = {"log_rate": leaf(shape[-1], **of), "bias": leaf(shape[-1], **of)}
    return {"decay": leaf(*shape, **of), "write": leaf(*shape, **of)} | vectors


def both(decay: Tensor, write: Tensor, log_rate: Tensor, bias: Tensor, impl: Any = "auto") -> Tensor:
    """[2, B, T, H]: g and beta in the dtype of decay."""
    results = delta_gates(decay, write, log_rate, bias, strongest=2.0, impl=impl)
    return torch.stack(results).to(decay.dtype)


@pytest.mark.parametrize("strongest", [1, 2.0])
def test_the_reference_is_the_definition(strongest: float) -> None:
    decay, write, log_rate, bias = (x.detach().double() for x in case(2, 7, 3).values())
    g, beta = delta_gates(decay, write, log_rate, bias, strongest=strongest)
    torch.testing.assert_close(g, -log_rate.exp() * (1 + (decay + bias).exp()).log())
    torch.testing.assert_close(beta, strongest / (1 + (-write).exp()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 167, 6)], ids=str)
def test_kernels(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert_kernels_are_right(both, case(*shape, dtype=dtype))


def test_small_and_large_decays_keep_their_relative_precision() -> None:
    decay = torch.linspace(-60, 60, 481).view(1, -1, 1).requires_grad_()
    given = (torch.zeros_like(decay), torch.zeros(1), torch.zeros(1))
    g, _ = delta_gates(decay, *given, impl="triton")
    right = torch.log1p(decay.double().exp())
    torch.testing.assert_close(-g.double(), right, rtol=1e-5, atol=0)
    (slope,) = torch.autograd.grad(-g.sum(), decay)
    torch.testing.assert_close(slope.double(), decay.double().sigmoid(), rtol=1e-5, atol=0)


def test_results_are_float32_and_gradients_of_parts_are_in_place() -> None:
    whole, vectors = leaf(2, 5, 9, dtype=torch.bfloat16), (leaf(4), leaf(4))
    parts = split(whole * 1, (4, 4, 1))
    g, beta = delta_gates(*parts[:2], *vectors, impl="triton")
    assert g.dtype == beta.dtype == torch.float32
    of_parts = torch.autograd.grad(g.sum() + beta.sum(), parts[:2])
    assert [x.stride() for x in of_parts] == [(45, 9, 1)] * 2
    reference = torch.autograd.grad(sum(x.sum() for x in delta_gates(*parts[:2], *vectors)), parts[:2])
    for own, right in zip(of_parts, reference, strict=True):
        torch.testing.assert_close(own, right, rtol=2**-6, atol=2**-8)


def test_the_operators_are_well_formed() -> None:
    decay, write, log_rate, bias = (x.detach() for x in case(2, 3, 4).values())
    delta_gates(decay, write, log_rate, bias, impl="triton")
    operators = torch.ops.nas_kernels
    torch.library.opcheck(operators.delta_gates.default, (decay, write, log_rate, bias, 2.0))
    torch.library.opcheck(operators.delta_gates_backward.default, (decay, write, decay, write, log_rate, bias, 2.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decay": torch.zeros(3, 4)}, r"decay has shape \[3, 4\]; it must be \[B, T, H\]"),
        ({"write": torch.zeros(2, 3, 1)}, r"write has shape \[2, 3, 1\]; it must be the shape of decay = \[2, 3, 4\]"),
        ({"bias": torch.zeros(3)}, r"bias has shape \[3\]; it must be \[H\] = \[4\]"),
        ({"strongest": -1.0}, r"strongest=-1.0 is not allowed; it must be a finite number of at least 0"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"decay": torch.zeros(2, 3, 4).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take"),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        delta_gates(**{name: x.detach() for name, x in case(2, 3, 4).items()} | changed)


@pytest.mark.gpu
def test_kernels_at_the_size_of_the_model() -> None:
    inputs = case(MODEL_BATCH, MODEL_LENGTH, 6, device="cuda")
    inputs |= {name: leaf(*inputs[name].shape, dtype=torch.bfloat16, device="cuda") for name in ("decay", "write")}
    assert_kernels_are_right(both, inputs)
