"""Helpers of the element-wise kernels: sums of the parts of a gradient."""

import pytest
import torch

pytest.importorskip("triton")

from nas.kernels.triton_elementwise import sum_partials


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [(1100, 37), (3, 4, 8), (1, 1)], ids=str)
def test_parts_of_a_gradient_are_summed(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    partials = torch.randn(sizes)
    total = sum_partials(partials, torch.empty(sizes[1:], dtype=dtype))
    exact = partials.double().sum(0)
    assert total.dtype == dtype
    torch.testing.assert_close(total.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-4)
