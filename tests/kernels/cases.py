"""Inputs and comparisons of the operations' tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = dict[str, Any]
"""Tensors by the name of their argument; Any, so that `operation(**inputs)` fits beside options of other types."""
Operation = Callable[..., Tensor | tuple[Tensor, ...]]

ROUTES = ("none", "ones", "zeros", "hard", "fractional", "mixed")
"""Kinds of route of `make_route`; "mixed" has zeros, ones and fractions."""


@dataclass(frozen=True)
class Shape:
    """Sizes of one test case; R routing heads, one per head unless given."""

    T: int
    chunk_size: int
    B: int = 2
    H: int = 2
    K: int = 5
    V: int = 3
    R: int | None = None

    def __str__(self) -> str:
        """Return the readable id of a parametrised test."""
        heads = "" if self.R is None else f"-R{self.R}of{self.H}"
        return f"T{self.T}-C{self.chunk_size}{heads}"

    @property
    def num_chunks(self) -> int:
        return math.ceil(self.T / self.chunk_size)


SHAPES = (
    Shape(T=1, chunk_size=4),
    Shape(T=3, chunk_size=4),
    Shape(T=7, chunk_size=1),
    Shape(T=9, chunk_size=16),
    Shape(T=12, chunk_size=4),
    Shape(T=14, chunk_size=4),
    Shape(T=13, chunk_size=3, H=4, R=1),
    Shape(T=13, chunk_size=3, H=4, R=2),
    Shape(T=10, chunk_size=4, K=1, V=1),
)
"""One token, shorter than a chunk, chunks of one, chunk longer than the sequence, whole, ragged, grouped, thin."""

GRADCHECK_SHAPES = (
    Shape(T=1, chunk_size=2, K=3, V=2),
    Shape(T=5, chunk_size=2, K=3, V=2),
    Shape(T=4, chunk_size=1, K=2, V=3),
    Shape(T=3, chunk_size=8, K=3, V=2),
    Shape(T=7, chunk_size=3, B=1, H=4, K=3, V=2, R=2),
)
"""Small enough for finite differences in every input."""


def make_route(shape: Shape, kind: str, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """Return a route [B, N, R] of the named kind; hard and mixed routes hold a 0 and a 1 if there is room for both."""
    if kind == "none":
        return None
    sizes = (shape.B, shape.num_chunks, shape.R or shape.H)
    alternating = (torch.arange(math.prod(sizes)) % 2).to(dtype)[torch.randperm(math.prod(sizes))].view(sizes)
    fractional = 0.1 + 0.8 * torch.rand(sizes, dtype=dtype)
    return {
        "ones": torch.ones(sizes, dtype=dtype),
        "zeros": torch.zeros(sizes, dtype=dtype),
        "hard": alternating,
        "fractional": fractional,
        "mixed": torch.where(torch.rand(sizes) < 0.5, alternating, fractional),
    }[kind]


def softmax_inputs(shape: Shape, route: str, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return q, k, v and, unless its kind is "none", the route; leaves that require gradients."""
    inputs = {"q": _randn(shape, shape.K), "k": _randn(shape, shape.K), "v": _randn(shape, shape.V)}
    return _leaves(inputs | _named_route(shape, route), dtype)


def delta_inputs(shape: Shape, route: str, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return q, k (normalised), v, g, beta, an initial state and, unless its kind is "none", the route; all leaves."""
    inputs = {
        "q": F.normalize(_randn(shape, shape.K), dim=-1),
        "k": F.normalize(_randn(shape, shape.K), dim=-1),
        "v": _randn(shape, shape.V),
        "g": -torch.rand(shape.B, shape.T, shape.H, dtype=torch.float64),
        "beta": torch.rand(shape.B, shape.T, shape.H, dtype=torch.float64),
        "initial_state": torch.randn(shape.B, shape.H, shape.K, shape.V, dtype=torch.float64),
    }
    return _leaves(inputs | _named_route(shape, route), dtype)


def with_strong_writes(inputs: Inputs) -> Inputs:
    """Return inputs of the delta rule with write strengths up to 2: state transitions have negative eigenvalues."""
    return inputs | {"beta": (2 * inputs["beta"].detach()).requires_grad_()}


RESETS = {"one": slice(20, 21), "the first": slice(0, 1), "every second": slice(0, None, 2), "a run": slice(8, 24)}
"""Tokens at which `with_resets` resets the state, by name."""


def with_resets(inputs: Inputs, where: str, reset: float) -> Inputs:
    """Return inputs of the delta rule with log-decays ``reset`` at the tokens of `RESETS`."""
    g = inputs["g"].detach().clone()
    g[:, RESETS[where]] = reset
    return inputs | {"g": g.requires_grad_()}


def with_tiny_route(inputs: Inputs, chunk_size: int, route: float, scale: float) -> Inputs:
    """Return inputs of softmax attention whose first chunk has a tiny route and scores that make up for it."""
    changed = {name: x.detach().clone() for name, x in inputs.items()}
    changed["q"][..., 0] = 1.0
    changed["k"][..., 0] = 0.0
    changed["k"][:, :chunk_size, :, 0] = -math.log(max(route, 1e-38)) / scale
    changed["route"][:, 0] = route
    return {name: x.requires_grad_() for name, x in changed.items()}


def results_and_gradients(operation: Operation, inputs: Inputs, cotangents: list[Tensor]) -> tuple[Inputs, Inputs]:
    """Return the results of ``operation(**inputs)`` and the gradients of their inner product with the cotangents.

    An input without effect on the results, such as the oracle's route of a single chunk, has gradient zero.
    """
    returned = operation(**inputs)
    results = returned if isinstance(returned, tuple) else (returned,)
    pairs = zip(results, cotangents, strict=True)
    loss = sum(((x * cotangent.to(x.dtype)).sum() for x, cotangent in pairs), start=results[0].new_zeros(()))
    gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True, materialize_grads=True)
    names = ("o", "final_state")[: len(results)]
    return dict(zip(names, results, strict=True)), dict(zip(inputs, gradients, strict=True))


def assert_all_close(actual: Inputs, expected: Inputs, atol: float) -> None:
    """Assert that every tensor of ``expected`` is matched within the absolute error ``atol``; the message names it."""
    for name, tensor in expected.items():
        error = (actual[name] - tensor).abs().max()
        assert error <= atol, f"{name} is off by {error:.1e}, allowed is {atol:.0e}"


def assert_close_in_low_precision(actual: Inputs, exact: Inputs, naive: Inputs, dtype: torch.dtype) -> None:
    """Compare results in ``dtype`` with float64, all from the same rounded inputs.

    The tolerance has three parts: one rounding of the value to ``dtype`` (half an ulp, relative eps / 2, doubled),
    twice the largest error of ``naive``, the oracle in float32, and a few ulps of the largest value, because float32
    sums in another order.
    """
    for name, value in exact.items():
        assert actual[name].isfinite().all(), f"{name} has values that are not finite"
        unit = torch.finfo(torch.float32).eps * value.abs().max()
        allowed = 2 * (naive[name] - value).abs().max() + 8 * unit + torch.finfo(actual[name].dtype).tiny
        allowed = allowed + torch.finfo(actual[name].dtype).eps * value.abs()
        error = (actual[name].to(torch.float64) - value).abs()
        assert (error <= allowed).all(), f"{name} in {dtype}: {(error - allowed).max():.1e} beyond what is allowed"


def strided(tensor: Tensor) -> Tensor:
    """Return the same values as every other element of larger memory, with the first axes stored in another order."""
    order = [1, 0, *range(2, tensor.ndim)]
    memory = torch.full([*(tensor.shape[axis] for axis in order), 2], torch.nan, dtype=tensor.dtype)
    view = memory[..., 0].permute(order)
    view.copy_(tensor.detach())
    return view.requires_grad_(tensor.requires_grad)


def mean_pool_route(x: Tensor, weight: Tensor, chunk_size: int) -> Tensor:
    """Compute a minimal router: mean over each chunk of x [B, T, D], linear in weight [D, R], sigmoid; [B, N, R]."""
    chunks = x.split(chunk_size, dim=1)
    return torch.stack([chunk.mean(1) @ weight for chunk in chunks], dim=1).sigmoid()


def _randn(shape: Shape, channels: int) -> Tensor:
    return torch.randn(shape.B, shape.T, shape.H, channels, dtype=torch.float64)


def _named_route(shape: Shape, kind: str) -> Inputs:
    route = make_route(shape, kind)
    return {} if route is None else {"route": route}


def _leaves(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return {name: tensor.to(dtype).detach().requires_grad_() for name, tensor in inputs.items()}
