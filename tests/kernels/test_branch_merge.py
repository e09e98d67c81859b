"""The merge of the branches against its definition, and Triton against the reference in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels.branch_merge import branch_merge
from tests.kernels.cases import Inputs, strided
from tests.kernels.elementwise import (
    MODEL_BATCH,
    MODEL_LENGTH,
    assert_compiles,
    assert_kernels_are_right,
    leaf,
)

SHAPES = [
    pytest.param(2, 7, 2, 6, 5, id="three to one"),
    pytest.param(1, 1, 1, 1, 3, id="one token, one head"),
    pytest.param(2, 67, 2, 4, 8, id="several programs"),
    pytest.param(1, 9, 4, 2, 12, id="fewer softmax heads"),
]
EPS = 1e-3  # large enough to have an effect
BRANCHES = ("both", "softmax", "linear", "mixture")


def case(
    batch: int, length: int, linear_heads: int, softmax_heads: int, dim: int, branches: str = "both", **of: Any
) -> Inputs:
    """Return the tensors of a call with both branches, one or a mixture, in the order of the arguments."""
    channels = softmax_heads * dim
    tensors = {
        "softmax_o": leaf(batch, length, softmax_heads, dim, **of),
        "linear_o": leaf(batch, length, linear_heads, channels // linear_heads, **of),
        "softmax_weight": leaf(dim, **of),
        "linear_weight": leaf(dim, **of),
        "scores": leaf(batch, length, 2 * softmax_heads, **of),
        "gate": leaf(batch, length, channels, **of),
        "mixture": leaf(3, **of | {"dtype": torch.float32}),
    }
    left_out = "" if branches == "mixture" else "mixture"
    tensors = {name: x for name, x in tensors.items() if name != left_out}
    return {
        name: x for name, x in tensors.items() if branches in ("both", "mixture") or name.startswith((branches, "gate"))
    }


def merge(
    gate: Tensor,
    softmax_o: Tensor | None = None,
    linear_o: Tensor | None = None,
    softmax_weight: Tensor | None = None,
    linear_weight: Tensor | None = None,
    scores: Tensor | None = None,
    mixture: Tensor | None = None,
    impl: Any = "auto",
) -> Tensor:
    given = (softmax_o, linear_o, softmax_weight, linear_weight, scores, gate)
    return branch_merge(*given, mixture=mixture, eps=EPS, impl=impl)


def in_precision(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Return the same leaves, all but the weights in ``dtype``."""
    return {
        name: x if name.endswith("weight") or name == "mixture" else x.detach().to(dtype).requires_grad_()
        for name, x in inputs.items()
    }


@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize(("batch", "length", "linear_heads", "softmax_heads", "dim"), SHAPES)
def test_reference_is_the_definition(
    batch: int, length: int, linear_heads: int, softmax_heads: int, dim: int, branches: str
) -> None:
    given = case(batch, length, linear_heads, softmax_heads, dim, branches)
    inputs = {name: x.detach().double() for name, x in given.items()}
    y, gate = merge(**inputs), inputs["gate"]
    for h in range(softmax_heads):
        own = slice(h * dim, (h + 1) * dim)
        shares = torch.ones(batch, length, 2, dtype=torch.float64)
        if branches in ("both", "mixture"):
            e = inputs["scores"][..., 2 * h : 2 * h + 2].exp()
            shares = e / (e[..., :1] + e[..., 1:])
        if branches == "mixture":
            shares = inputs["mixture"][:2] + inputs["mixture"][2] * shares
        expected = torch.zeros(batch, length, dim, dtype=torch.float64)
        for index, name in enumerate(("softmax", "linear")):
            if branches in ("both", "mixture", name):
                o = inputs[f"{name}_o"].flatten(2)[..., own]
                normed = inputs[f"{name}_weight"] * o / (o.square().mean(-1, keepdim=True) + EPS).sqrt()
                expected += shares[..., index, None] * normed
        expected *= gate[..., own] / (1 + torch.exp(-gate[..., own]))
        torch.testing.assert_close(y[..., own], expected)


@pytest.mark.parametrize(
    ("branches", "dtype"),
    [
        *(("both", torch.float32), ("both", torch.bfloat16), ("softmax", torch.float32), ("linear", torch.bfloat16)),
        *(("mixture", torch.float32), ("mixture", torch.bfloat16)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("batch", "length", "linear_heads", "softmax_heads", "dim"), SHAPES)
def test_kernels(
    batch: int, length: int, linear_heads: int, softmax_heads: int, dim: int, dtype: torch.dtype, branches: str
) -> None:
    assert_kernels_are_right(merge, case(batch, length, linear_heads, softmax_heads, dim, branches, dtype=dtype))


def test_kernels_take_float32_weights_beside_half_precision() -> None:
    assert_kernels_are_right(merge, in_precision(case(2, 9, 2, 4, 5), torch.bfloat16))


def test_kernels_on_strided_memory() -> None:
    inputs = {name: x if x.ndim == 1 else strided(x) for name, x in case(2, 9, 2, 4, 5).items()}
    inputs["gate"] = leaf(2, 9, 50)[..., 8:28]
    mine, right = (
        torch.autograd.grad(merge(**inputs, impl=impl).square().sum(), list(inputs.values()))
        for impl in ("triton", "reference")
    )
    torch.testing.assert_close(mine, right)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's sigmoid; it is 0 there
@pytest.mark.parametrize("score", [100.0, -1e4])
def test_kernels_where_one_branch_has_all_of_the_share(score: float) -> None:
    inputs = case(1, 3, 2, 4, 5)
    scores = inputs["scores"].detach().clone()
    scores[..., ::2] = score
    assert_kernels_are_right(merge, inputs | {"scores": scores.requires_grad_()})


def test_kernels_need_no_gradient() -> None:
    with torch.no_grad():
        assert not merge(**case(1, 3, 2, 4, 5), impl="triton").requires_grad


def test_under_autocast_the_output_is_of_its_dtype() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert merge(**case(1, 3, 2, 4, 5), impl="triton").dtype == torch.bfloat16


@pytest.mark.parametrize("branches", ["linear", "mixture"])
def test_the_operators_are_well_formed(branches: str) -> None:
    inputs = case(2, 3, 2, 4, 5, branches)
    y = merge(**inputs, impl="triton").detach()
    softmax_o, softmax_weight = inputs.get("softmax_o"), inputs.get("softmax_weight")
    linear_o, linear_weight = inputs["linear_o"].flatten(2).detach().requires_grad_(), inputs["linear_weight"]
    given: tuple[Any, ...] = (linear_o, None, linear_weight, None, None, inputs["gate"], None, EPS)
    if softmax_o is not None:
        flat = softmax_o.flatten(2).detach().requires_grad_()
        weights = (softmax_weight, linear_weight)
        given = (flat, linear_o, *weights, inputs["scores"], inputs["gate"], inputs.get("mixture"), EPS)
    torch.library.opcheck(torch.ops.nas_kernels.branch_merge.default, given)
    detached = tuple(x.detach() if isinstance(x, Tensor) else x for x in (y, *given))
    torch.library.opcheck(torch.ops.nas_kernels.branch_merge_backward.default, detached)


@pytest.mark.parametrize("branches", ["linear", "mixture"])
def test_compiles_as_one_graph(branches: str) -> None:
    assert_compiles(merge, case(2, 3, 2, 4, 5, branches))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gate": torch.zeros(2, 3)}, r"gate has shape \[2, 3\]; it must be \[B, T, Hs \* Vs\]"),
        ({"gate": torch.zeros(2, 3, 12, dtype=torch.int64)}, r"gate has dtype torch.int64; .* floating-point"),
        ({"softmax_o": torch.zeros(2, 3, 4, 4)}, r"softmax_o has shape \[2, 3, 4, 4\]; .* = \[2, 3, 12\]"),
        ({"linear_o": torch.zeros(2, 2, 2, 6)}, r"linear_o has shape \[2, 2, 2, 6\]; .* = \[2, 3, 12\]"),
        ({"linear_o": torch.zeros(2, 3, 2, 6, dtype=torch.bool)}, r"linear_o has dtype torch.bool; .* floating-point"),
        ({"softmax_weight": torch.zeros(4)}, r"softmax_weight has shape \[4\]; it must be \[Vs\] = \[3\]"),
        (
            {"linear_weight": torch.zeros(5)},
            r"linear_weight has shape \[5\]; it must be \[Vs\] with Vs a divisor of 12",
        ),
        ({"linear_weight": torch.zeros(6)}, r"linear_weight has shape \[6\]; .* softmax_weight = \[3\]"),
        ({"linear_weight": None}, r"linear_o and linear_weight must be given together"),
        ({"scores": None}, r"scores is None; with softmax_o and linear_o it must be \[B, T, 2 \* Hs\]"),
        ({"scores": torch.zeros(2, 3, 4)}, r"scores has shape \[2, 3, 4\]; .* = \[2, 3, 8\]"),
        ({"linear_o": None, "linear_weight": None}, r"scores were given for one branch alone"),
        ({"mixture": torch.zeros(2)}, r"mixture has shape \[2\]; it must be .* = \[3\]"),
        (
            {"linear_o": None, "linear_weight": None, "scores": None, "mixture": torch.zeros(3)},
            r"mixture was given for one branch alone",
        ),
        (dict.fromkeys(["softmax_o", "linear_o", "softmax_weight", "linear_weight"]), r"are both None"),
        ({"impl": "cuda"}, r"impl='cuda' is unknown; choose one of: auto, reference, triton"),
        (
            {"gate": torch.zeros(2, 3, 12).double(), "impl": "triton"},
            r"torch.float64, and Triton's kernels take float16",
        ),
    ],
)
def test_wrong_arguments_are_refused(changed: Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge(**case(2, 3, 2, 4, 3) | changed)


def test_too_wide_a_head_is_refused() -> None:
    inputs = case(1, 1, 1, 1, 4096, "softmax")
    with pytest.raises(ValueError, match="a head has 4096 channels, and Triton's kernels take up to 2048"):
        merge(**inputs, impl="triton")


@pytest.mark.gpu
@pytest.mark.parametrize("branches", BRANCHES)
def test_kernels_at_the_size_of_the_model(branches: str) -> None:
    inputs = case(MODEL_BATCH, MODEL_LENGTH, 6, 12, 128, branches, device="cuda")
    assert_kernels_are_right(merge, in_precision(inputs, torch.bfloat16))
