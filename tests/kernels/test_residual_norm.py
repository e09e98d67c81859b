"""Addition to the residual stream and norm against the definition, and Triton's against the reference in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.residual_norm import residual_norm
from tests.kernels.cases import Inputs, strided
from tests.kernels.elementwise import MODEL_BATCH, MODEL_LENGTH, assert_compiles, assert_kernels_are_right, leaf

EPS = 1e-3  # large enough to show


def case(*shape: int, **of: Any) -> Inputs:
    return {"x": leaf(*shape, **of), "delta": leaf(*shape, **of), "weight": leaf(shape[-1], **of)}


def both(x: Tensor, delta: Tensor, weight: Tensor, impl: Any = "auto") -> Tensor:
    """[2, ..., D]: total and y."""
    return torch.stack(residual_norm(x, delta, weight, eps=EPS, impl=impl))


@pytest.mark.parametrize("autocast", [False, True])
def test_the_reference_is_a_sum_and_its_norm_bit_for_bit(autocast: bool) -> None:
    x, delta, weight = given = list(case(2, 7, 5).values())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        results = residual_norm(x, delta.bfloat16() if autocast else delta, weight, eps=EPS)
        total = x + (delta.bfloat16() if autocast else delta)
        expected = total, F.rms_norm(total, (5,), weight, EPS)
    of_both = (torch.autograd.grad([*z], given, [torch.ones_like(y) for y in z]) for z in (results, expected))
    assert all(map(torch.equal, results, expected))
    assert all(map(torch.equal, *of_both))
    size = (total.double().square().sum(-1, keepdim=True) / 5 + EPS).sqrt()
    torch.testing.assert_close(results[1].double(), weight.double() * total.double() / size, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 67, 24), (5, 16)], ids=str)
def test_kernels(shape: tuple[int, ...]) -> None:
    assert_kernels_are_right(both, case(*shape))


def test_programs_take_several_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.kernels.residual_norm import triton_op

    monkeypatch.setattr(triton_op, "TILE", 32)
    monkeypatch.setattr(triton_op, "PROGRAMS", 2)
    assert_kernels_are_right(both, case(1, 11, 12))


def with_dtypes(x: torch.dtype, delta: torch.dtype, *shape: int, device: str = "cpu") -> Inputs:
    """Inputs with a weight in float32."""
    dtypes = {"x": x, "delta": delta, "weight": torch.float32}
    return {name: leaf(*z.shape, dtype=dtypes[name], device=device) for name, z in case(*shape).items()}


def assert_right_under_autocast(inputs: Inputs) -> None:
    """Compare outputs and gradients with float64; a total in bfloat16 is rounded before it is normalised."""
    device = inputs["x"].device.type
    with torch.autocast(device, torch.bfloat16):
        results = residual_norm(**inputs, eps=EPS, impl="triton")
    given = [z.dtype for z in inputs.values()]
    assert [y.dtype for y in results] == [torch.promote_types(*given[:2]), torch.bfloat16]
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    right = residual_norm(**exact, eps=EPS, impl="reference")
    cotangents = [torch.randn_like(y) for y in results]
    mine = torch.autograd.grad(results, list(inputs.values()), cotangents)
    of_right = torch.autograd.grad(right, list(exact.values()), [z.double() for z in cotangents])
    assert [z.dtype for z in mine] == given
    for own, value in zip((*results, *mine), (*right, *of_right), strict=True):
        rounding = 2**-7 if torch.bfloat16 in (own.dtype, results[0].dtype) else 1e-4
        assert (own.double() - value).abs().max() <= rounding * value.abs().max()


@pytest.mark.parametrize("delta", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("x", [torch.float32, torch.bfloat16], ids=str)
def test_kernels_under_autocast(x: torch.dtype, delta: torch.dtype) -> None:
    """Training has the residual stream in float32, and the output of a layer in bfloat16."""
    assert_right_under_autocast(with_dtypes(x, delta, 2, 9, 20))


@pytest.mark.parametrize("used", [0, 1])
def test_gradient_through_one_of_two_results(used: int) -> None:
    inputs = case(2, 3, 8)
    mine, right = (
        torch.autograd.grad(
            residual_norm(**inputs, eps=EPS, impl=impl)[used].square().sum(), list(inputs.values()),
            allow_unused=True, materialize_grads=True,
        )
        for impl in ("triton", "reference")
    )  # fmt: skip
    for own, exact in zip(mine, right, strict=True):
        torch.testing.assert_close(own, exact)


def test_kernels_on_strided_memory() -> None:
    inputs = case(2, 9, 20)
    inputs |= {"x": strided(inputs["x"]), "delta": leaf(2, 9, 50)[..., 8:28]}
    mine, right = (
        torch.autograd.grad(both(**inputs, impl=impl).square().sum(), list(inputs.values()))
        for impl in ("triton", "reference")
    )
    for own, exact in zip(mine, right, strict=True):
        torch.testing.assert_close(own, exact)


def test_the_operators_are_well_formed() -> None:
    x, delta, weight = (z.detach() for z in with_dtypes(torch.float32, torch.bfloat16, 2, 3, 8).values())
    residual_norm(x, delta, weight, impl="triton")
    operators = torch.ops.nas_kernels
    torch.library.opcheck(operators.residual_norm.default, (x, delta, weight, EPS, torch.float32))
    for dtotal in (None, x):
        given = (dtotal, x, x, weight, EPS, torch.float32, torch.bfloat16)
        torch.library.opcheck(operators.residual_norm_backward.default, given)


def test_compiles_as_one_graph() -> None:
    assert_compiles(both, case(2, 3, 8))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(())}, r"x has shape \[\]; it must be \[..., D\]"),
        ({"delta": torch.zeros(2, 1, 8)}, r"delta has shape \[2, 1, 8\]; it must be the shape of x = \[2, 3, 8\]"),
        ({"weight": torch.zeros(4)}, r"weight has shape \[4\]; it must be \[D\] = \[8\]"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"delta": torch.zeros(2, 3, 8).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take"),
        (
            {"x": torch.zeros(1, 8192), "delta": torch.zeros(1, 8192), "weight": torch.zeros(8192), "impl": "triton"},
            "x has 8192 channels, and Triton's kernels take up to 4096",
        ),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    right: Inputs = {"x": torch.zeros(2, 3, 8), "delta": torch.zeros(2, 3, 8), "weight": torch.zeros(8)}
    with pytest.raises(ValueError, match=message):
        residual_norm(**right | changed)


@pytest.mark.gpu
@pytest.mark.parametrize("x", [torch.float32, torch.bfloat16], ids=str)
def test_kernels_at_the_size_of_the_model(x: torch.dtype) -> None:
    assert_right_under_autocast(with_dtypes(x, torch.bfloat16, MODEL_BATCH, MODEL_LENGTH, 1024, device="cuda"))


@pytest.mark.gpu
def test_kernels_in_float32_on_the_gpu() -> None:
    assert_kernels_are_right(both, case(2, 1031, 1000, device="cuda"))
