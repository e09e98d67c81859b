"""Errors of the gated delta rule and of its peers against float64, at the timed shapes."""

import dataclasses
import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from experiments.kernel_speed.delta_rule import peers
from experiments.kernel_speed.delta_rule.cases import (
    LINEAR_SHARE,
    Call,
    Rule,
    Shape,
    draw,
    grouped,
    of_the_340m,
    of_today,
    ours,
)
from experiments.kernel_speed.inputs import document_borders
from experiments.kernel_speed.rows import OURS, Bench, Case, Check, Row
from experiments.kernel_speed.timing import Value, reason, recover
from nas.kernels.self_test import CANCELLED, ROUNDINGS, RoundedProducts

ERROR = "error x 1000"
ERROR_LIMIT = 1.0

RESULTS = ("o", "state")
PER_KEY_HEAD = {"q", "k", "dq", "dk"}
HEAD_DIMENSION = {"initial_state": 1, "dinitial_state": 1, "state": 1}
"""Dimension of the heads where it is not 2."""


def errors(bench: Bench) -> Iterator[Case]:
    """Errors of the gated delta rule at the timed shapes, forward and backward, against float64.

    An error is the norm of the difference from the reference in float64 over the norm of the latter, times 1000, over
    all tokens of the first and the last head of q and k, and their heads of v. The gradient of a tensor x is dx.
    Allowed is twice the error of the reference whose products round their operands to bf16, and the rounding of the
    result. The route's gradient is "full".
    """
    shapes = bench.shapes
    for shape in of_today(shapes) + grouped(shapes) + of_the_340m(shapes):
        yield _case(bench, shape)
        yield _case(bench, shape, states=shape.batch)
        yield _case(bench, shape, states=shape.batch, share=LINEAR_SHARE)
    one = dataclasses.replace(of_today(shapes)[0], batch=1, length=shapes.tokens)
    yield _case(bench, one, documents=shapes.documents)


def _case(bench: Bench, shape: Shape, *, states: int = 0, share: float | None = None, documents: int = 0) -> Case:
    given = {"states": bool(states), "route": share is not None, f"{documents} documents": bool(documents)}
    name = ", ".join([str(shape), *(option for option, present in given.items() if present)])
    return Case(name, functools.partial(_errors, bench, name, shape, states, share, documents))


def _errors(bench: Bench, case: str, shape: Shape, states: int, share: float | None, documents: int) -> Iterator[Row]:
    call = draw(shape, bench.shapes, bench.clock.device, states=states, share=share)
    borders = document_borders(shape.length, documents) if documents else None
    rules: dict[str, Rule] = {OURS: ours(bench.shapes, bench.impl, "full", borders)}
    if share is None:
        rules |= peers.rules(shape, None if borders is None else borders.to(bench.clock.device, torch.int64))
    part, reference = part_of(call, shape), ours(bench.shapes, "reference", "full", borders)
    exact = results(reference, part, torch.float64)
    with RoundedProducts(bench.shapes.dtype):
        rounded = results(reference, part, torch.float32)
    for name, rule in rules.items():
        try:
            found = of_part(results(rule, call), shape)
            values = {key: Value(1e3 * relative(found[key], x)) for key, x in exact.items()}
            worst = beyond(found, rounded, exact)
            del found
        except Exception as error:
            values, worst = {"o": Value(failure=reason(error))}, None
            recover(bench.clock)
        checks = (Check("worst error / allowed", worst, ERROR_LIMIT),) if name == OURS else ()
        yield Row(case, f"{name}, {ERROR}", values, checks=checks)


def results(rule: Rule, call: Call, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return o, the final state and the gradients of all inputs, by name; computed in ``dtype`` if it is given."""

    def cast(x: Tensor) -> Tensor:
        return x if dtype is None else x.detach().to(dtype)

    leaves = {name: cast(x).requires_grad_() for name, x in call.tensors.items()}
    returned = rule(**leaves)
    outputs = returned if isinstance(returned, tuple) else (returned,)
    gradients = torch.autograd.grad(outputs, list(leaves.values()), [cast(x) for x in call.grads])
    found = dict(zip(RESULTS, outputs, strict=False))
    found |= {f"d{name}": x for name, x in zip(leaves, gradients, strict=True)}
    return {name: x.detach() for name, x in found.items()}


def part_of(call: Call, shape: Shape) -> Call:
    """Return the call for the first and the last head of q and k alone, which do not depend on the others."""
    return Call(
        of_part(call.tensors, shape), tuple(of_part(dict(zip(RESULTS, call.grads, strict=False)), shape).values())
    )


def of_part(tensors: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """Return the parts of tensors, by name, that belong to the first and the last head of q and k."""
    group = shape.heads // shape.key_heads
    key_heads = sorted({0, shape.key_heads - 1})
    heads = [group * head + i for head in key_heads for i in range(group)]

    def part(name: str, x: Tensor) -> Tensor:
        chosen = torch.tensor(key_heads if name in PER_KEY_HEAD else heads, device=x.device)
        return x.detach().index_select(HEAD_DIMENSION.get(name, 2), chosen)

    return {name: part(name, x) for name, x in tensors.items()}


def relative(found: Tensor, exact: Tensor) -> float:
    """Return the norm of the error over the norm of the exact result."""
    return float((found.double() - exact).norm() / exact.norm())


def beyond(found: dict[str, Tensor], rounded: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Return the largest error over what rounding allows, as `nas.kernels.self_test.compare` does."""
    shares = []
    for name, x in exact.items():
        unit = torch.finfo(found[name].dtype).eps * ROUNDINGS.get(found[name].dtype, 1)
        allowed = 2 * (rounded[name] - x).norm() + unit * x.norm() + CANCELLED
        shares.append(float((found[name].double() - x).norm() / allowed))
    return math.nan if any(map(math.isnan, shares)) else max(shares)
