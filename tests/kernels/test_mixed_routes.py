"""Routes of a mixture against their definition, and Triton against the reference in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels.mixed_routes import mixed_routes
from tests.kernels.cases import Inputs, strided
from tests.kernels.elementwise import assert_compiles, assert_kernels_are_right

SHAPES = [
    pytest.param((2, 7, 3), id="one block"),
    pytest.param((1,), id="one chunk"),
    pytest.param((2, 700, 2), id="several blocks, the last one ragged"),
]
MIXTURES = [(0.2, 0.3, 0.5), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)]


def case(sizes: tuple[int, ...], mixture: tuple[float, ...], dtype: torch.dtype = torch.float32) -> Inputs:
    inputs = {"weights": torch.rand(*sizes, 2).to(dtype).requires_grad_()}
    return inputs | {
        name: torch.tensor(x).requires_grad_() for name, x in zip(("first", "second", "hybrid"), mixture, strict=True)
    }


def routes(impl: Any = "auto", **given: Tensor) -> Tensor:
    return torch.stack(mixed_routes(**given, impl=impl))


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_reference_is_the_definition(mixture: tuple[float, ...]) -> None:
    given = {name: x.detach().double() for name, x in case((2, 7), mixture).items()}
    for branch, route in enumerate(mixed_routes(**given)):
        alone, both = mixture[branch], mixture[2]
        expected = (alone + both * given["weights"][..., branch]) / (alone + both) if alone + both else 1.0
        torch.testing.assert_close(route, expected * torch.ones_like(route))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_kernels_of_each_mixture(mixture: tuple[float, ...], dtype: torch.dtype) -> None:
    assert_kernels_are_right(routes, case((2, 9, 2), mixture, dtype))


@pytest.mark.parametrize("sizes", SHAPES)
def test_kernels_of_each_shape(sizes: tuple[int, ...]) -> None:
    assert_kernels_are_right(routes, case(sizes, MIXTURES[0]))


def test_kernels_on_strided_memory() -> None:
    inputs = case((2, 9), MIXTURES[0])
    inputs["weights"] = strided(inputs["weights"])
    cotangent = torch.randn(9, 2, 2).permute(2, 1, 0)
    mine, right = (
        torch.autograd.grad(routes(impl=impl, **inputs), list(inputs.values()), cotangent)
        for impl in ("triton", "reference")
    )
    torch.testing.assert_close(mine, right)


def test_compiles_as_one_graph() -> None:
    assert_compiles(routes, case((2, 3), MIXTURES[0]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": torch.zeros(())}, r"weights has shape \[\]; it must be \[..., 2\]"),
        ({"weights": torch.zeros(2, 3)}, r"weights has shape \[2, 3\]; it must be \[..., 2\]"),
        ({"weights": torch.zeros(0, 2)}, r"weights has shape \[0, 2\]; .* at least 1"),
        ({"hybrid": torch.zeros(1)}, r"hybrid has shape \[1\]"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        ({"weights": torch.zeros(4, 2).double(), "impl": "triton"}, r"torch.float64, and Triton's kernels take"),
    ],
)
def test_wrong_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixed_routes(**case((4,), MIXTURES[0]) | changed)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_kernels_on_a_gpu(mixture: tuple[float, ...], dtype: torch.dtype) -> None:
    inputs = {name: x.detach().cuda().requires_grad_() for name, x in case((32, 32, 2), mixture, dtype).items()}
    assert_kernels_are_right(routes, inputs)
