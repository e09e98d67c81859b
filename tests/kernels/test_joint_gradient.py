"""Gradients of parts in one tensor: the bits of `torch.split`, without a copy of those that kernels write."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nas.kernels import joint_gradient
from nas.kernels.branch_merge import branch_merge
from nas.kernels.joint_gradient import gradient_memory, split
from nas.kernels.short_convolution import short_convolution
from tests.kernels.elementwise import leaf
from tests.kernels.triton_cases import on_cpu

SIZES = (8, 12, 3, 1)
"""A convolution's input, a gate, a part for PyTorch, and one that nothing reads."""
Split = Callable[[Tensor, Sequence[int]], Sequence[Tensor]]


def by_torch(whole: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    return whole.split(list(sizes), -1)


class Twice(torch.autograd.Function):
    """2 x, with its gradient in the memory that kernels use."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, dy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.mul(dy, 2, out=gradient_memory(x))


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each gradient of a part that was compared was in its place already."""
    found: list[bool] = []
    compared = joint_gradient._is

    def noted(x: Tensor | None, slot: Tensor) -> bool:
        found.append(not compared(x, slot))
        return not found[-1]

    monkeypatch.setattr(joint_gradient, "_is", noted)
    return found


@on_cpu
def test_kernels_write_the_gradients_of_parts_where_they_belong(copies: list[bool]) -> None:
    whole, o = leaf(2, 7, sum(SIZES)), leaf(2, 7, 3, 4)
    weight, gain = leaf(8, 4), leaf(4)

    def results(split: Split) -> tuple[Tensor, ...]:
        x, gate, other, _ = split(whole * 1, SIZES)
        y = short_convolution(x, weight, impl="triton").square().sum() + other.sin().sum()
        y = y + branch_merge(o, None, gain, None, None, gate, impl="triton").square().sum()
        return torch.autograd.grad(y, [whole, o, weight, gain])

    expected = results(by_torch)
    assert all(map(torch.equal, results(split), expected))
    assert copies == [False, False, False, False, True], "both kernels, when all are compared and when copied"


def gradients(split: Split, function: Callable[..., Tensor], whole: Tensor, times: int = 1) -> list[Tensor]:
    parts = split(whole * 1, SIZES)
    y = function(*parts)
    return [torch.autograd.grad(y, whole, retain_graph=True)[0] for _ in range(times)]


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, c, d: (Twice.apply(a) * Twice.apply(a)).sum() + c.sum(),
        lambda a, b, c, d: Twice.apply(a).sum() + a.exp().sum() + Twice.apply(b).square().sum(),
        lambda a, b, c, d: Twice.apply(a.detach().requires_grad_()).sum() + Twice.apply(b[..., :3]).square().sum(),
        lambda a, b, c, d: Twice.apply(a).square().sum() + Twice.apply(d).sum(),
    ],
    ids=["a part read twice", "also by PyTorch", "a detached part, and a part of a part", "twice backwards"],
)
def test_gradients_are_those_of_torch(function: Callable[..., Tensor]) -> None:
    whole = leaf(2, 5, sum(SIZES))
    for own, right in zip(*(gradients(one, function, whole, times=2) for one in (split, by_torch)), strict=True):
        assert torch.equal(own, right)


def test_memory_that_was_given_away_is_not_written_again() -> None:
    """A backward pass to a part alone hands its gradient to the caller, who keeps it."""
    whole = leaf(2, 5, sum(SIZES))
    parts = split(whole * 1, SIZES)
    y = (Twice.apply(parts[0]).square() + 1).sum() + Twice.apply(parts[1]).sum()
    (kept,) = torch.autograd.grad(y, parts[0], retain_graph=True)
    before = kept.clone()
    assert torch.equal(torch.autograd.grad(3 * y, whole)[0][..., :8], 3 * before)
    assert torch.equal(kept, before)


def test_memory_of_a_freed_tensor_is_not_that_of_its_successor() -> None:
    x = leaf(4, 20)
    parts = split(x * 1, (16, 4))
    whole = next(iter(joint_gradient._wholes.values()))
    assert whole.take(parts[0]) is not None
    graph, strides = parts[0].grad_fn, parts[1].stride()
    del parts
    other = torch.empty(4, 20)[:, 16:]
    assert graph is not None
    assert other.stride() == strides
    assert whole.take(other) is None


def test_other_tensors_get_memory_of_their_own() -> None:
    parts = split(leaf(3, 8) * 1, (6, 2))
    assert gradient_memory(parts[0]).stride() == (8, 1)
    assert gradient_memory(parts[0]).stride() == (6, 1), "taken before"
    assert gradient_memory(parts[0][:2]).stride() == (6, 1)
    for whole in (leaf(8, 3).T, leaf(4, 8)[1:]):
        assert gradient_memory(split(whole, (6, 2))[0]).is_contiguous()
    with torch.no_grad():
        assert gradient_memory(split(leaf(3, 8) * 1, (6, 2))[0]).is_contiguous()


def test_a_traced_split_is_an_ordinary_one() -> None:
    with FakeTensorMode():
        parts = split(torch.empty(3, 8, requires_grad=True) * 1, (6, 2))
        assert gradient_memory(parts[0]).stride() == (6, 1)
    assert type(parts[0].grad_fn).__name__ == "SplitWithSizesBackward0"
