"""Shapes of the gated delta rule, calls with random inputs of them, and those calls as contenders."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.kernel_speed.contenders import SETS, Contender
from experiments.kernel_speed.inputs import Shapes, chosen_chunks
from experiments.kernel_speed.limits import Size
from experiments.kernel_speed.rows import Bench
from nas.kernels import gated_delta_rule
from nas.kernels.arguments import Impl, RouteGrad

Rule = Callable[..., Tensor | tuple[Tensor, ...]]
"""A gated delta rule: takes the tensors of a `Call` by name, returns o, or o and the final state."""


LINEAR_SHARE = 0.75
"""Share of the chunks that a routed gated delta rule passes on: the other 25 % go to softmax."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a call: B, T, heads of q and k, heads of v, K, V."""

    batch: int
    length: int
    key_heads: int
    heads: int
    key_dim: int
    value_dim: int

    def __str__(self) -> str:
        heads = f"{self.heads}" if self.heads == self.key_heads else f"{self.key_heads}/{self.heads}"
        return f"{heads} heads x ({self.key_dim}, {self.value_dim}), {self.batch} x {self.length} tokens"

    def size(self, shapes: Shapes) -> Size:
        """Return the sizes that the floor is computed from."""
        group = self.heads // self.key_heads
        chunk_size = shapes.architecture.chunk_size
        element = shapes.dtype.itemsize
        return Size(self.batch, self.length, self.heads, self.key_dim, self.value_dim, chunk_size, element, group)


def of_the_340m(shapes: Shapes) -> list[Shape]:
    """Return the shapes of the 340M model's linear branch."""
    a = shapes.architecture
    lengths = shapes.delta_lengths
    return [Shape(shapes.batch(n), n, a.linear_heads, a.linear_heads, a.key_dim, a.value_dim) for n in lengths]


def of_today(shapes: Shapes) -> list[Shape]:
    """Return the shapes of today's models, with as many heads of q and k as of v."""
    heads, dim = shapes.delta_heads, shapes.delta_dim
    return [Shape(shapes.batch(n), n, heads, heads, dim, dim) for n in shapes.delta_lengths]


def grouped(shapes: Shapes) -> list[Shape]:
    """Return the shapes of today's models with more heads of v than of q and k: a batch, and one sequence."""
    lengths = sorted({shapes.lengths[len(shapes.lengths) // 2], shapes.lengths[-1]})
    dim, key_heads = shapes.delta_dim, shapes.delta_heads
    return [Shape(shapes.batch(n), n, key_heads, h, dim, dim) for h in shapes.grouped_heads for n in lengths]


@dataclass(frozen=True)
class Call:
    """The tensors of a call by the names of our arguments, all leaves, and the gradients of its results."""

    tensors: dict[str, Tensor]
    grads: tuple[Tensor, ...]


def draw(
    shape: Shape,
    shapes: Shapes,
    device: torch.device,
    seed: int = 0,
    *,
    states: int = 0,
    share: float | None = None,
) -> Call:
    """Draw random inputs as in a model: unit keys, decays near 1 and far from it, write strengths in (0, 1).

    Args:
        states: number of initial and final states, B or the number of packed documents; 0 for none.
        share: share of chunks whose route is 1, in each head of v; None for no route.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*sizes: int, dtype: torch.dtype = shapes.dtype) -> Tensor:
        return torch.randn(*sizes, device=device, dtype=dtype, generator=generator)

    tokens = shape.batch, shape.length
    tensors = {name: F.normalize(normal(*tokens, shape.key_heads, shape.key_dim), dim=-1) for name in "qk"}
    tensors["v"] = normal(*tokens, shape.heads, shape.value_dim)
    tensors["g"] = F.logsigmoid(normal(*tokens, shape.heads, dtype=torch.float32) + 3)
    tensors["beta"] = normal(*tokens, shape.heads).sigmoid()
    grads = [normal(*tokens, shape.heads, shape.value_dim)]
    if states:
        state = states, shape.heads, shape.key_dim, shape.value_dim
        tensors["initial_state"] = normal(*state, dtype=torch.float32)
        grads.append(normal(*state, dtype=torch.float32))
    if share is not None:
        chunks = -(-shape.length // shapes.architecture.chunk_size)
        tensors["route"] = chosen_chunks(shape.batch, chunks, shape.heads, share, device, seed)
    for leaf in tensors.values():
        leaf.requires_grad_()
    return Call(tensors, tuple(grads))


def draw_sets(bench: Bench, shape: Shape, **options: Any) -> list[Call]:
    """Return calls for the rounds to alternate between."""
    return [draw(shape, bench.shapes, bench.clock.device, seed, **options) for seed in range(SETS)]


def ours(shapes: Shapes, impl: Impl, route_grad: RouteGrad = "selected", cu_seqlens: Tensor | None = None) -> Rule:
    """Return our gated delta rule."""
    rule: Any = gated_delta_rule
    chunk_size = shapes.architecture.chunk_size

    def operation(**tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        return rule(
            **tensors, chunk_size=chunk_size, return_final_state="initial_state" in tensors, cu_seqlens=cu_seqlens,
            route_grad=route_grad, impl=impl,
        )  # fmt: skip

    return operation


def contender(rule: Rule, calls: list[Call]) -> Contender:
    """Return a gated delta rule on these calls as a contender."""
    names = tuple(calls[0].tensors)

    def operation(*leaves: Tensor) -> Tensor | tuple[Tensor, ...]:
        return rule(**dict(zip(names, leaves, strict=True)))

    return Contender(operation, [tuple(call.tensors.values()) for call in calls], [call.grads for call in calls])
