"""Times of the gated delta rule: the 340M's shapes, those of today's models, states, routes, grouped heads."""

import functools
from collections.abc import Iterator

from experiments.kernel_speed import limits
from experiments.kernel_speed.contenders import FLA, calls
from experiments.kernel_speed.delta_rule import peers
from experiments.kernel_speed.delta_rule.cases import (
    LINEAR_SHARE,
    Shape,
    contender,
    draw_sets,
    grouped,
    of_the_340m,
    of_today,
    ours,
)
from experiments.kernel_speed.operations import ACTIVATIONS, HOW, timed
from experiments.kernel_speed.rows import OURS, Bench, Case, Check, Row, ratio
from experiments.kernel_speed.timing import Value, memory

FLASH_QLA_LIMIT = 1.0
FLA_LIMIT = 0.6


def delta(bench: Bench) -> Iterator[Case]:
    """The gated delta rule alone, without a route, at the shapes of the 340M model."""
    for shape in of_the_340m(bench.shapes):
        yield Case(str(shape), functools.partial(_against_peers, bench, shape))


def delta128(bench: Bench) -> Iterator[Case]:
    """The gated delta rule at the shapes of today's models: 16 heads of 128 keys and values.

    "fla" is flash-linear-attention on its own Triton kernels. Where FlashQLA is installed, it hands these shapes to
    FlashQLA, which is timed by itself here. FlashQLA and FlashInfer compute no other head sizes.
    """
    for shape in of_today(bench.shapes):
        yield Case(str(shape), functools.partial(_against_peers, bench, shape))


def states(bench: Bench) -> Iterator[Case]:
    """The gated delta rule from an initial state to a final state, with the gradients of both."""
    for shape in of_today(bench.shapes):
        yield Case(str(shape), functools.partial(_against_peers, bench, shape, states=True))


def groups(bench: Bench) -> Iterator[Case]:
    """The gated delta rule with 2 and 4 heads of v for each head of q and k, which are not repeated in memory."""
    for shape in grouped(bench.shapes):
        yield Case(str(shape), functools.partial(_against_peers, bench, shape))


def _against_peers(bench: Bench, shape: Shape, states: bool = False) -> Iterator[Row]:
    case = f"{shape}{', states' if states else ''}"
    sets = draw_sets(bench, shape, states=shape.batch if states else 0)
    contenders = {OURS: contender(ours(bench.shapes, bench.impl), sets)}
    contenders |= {name: contender(rule, sets) for name, rule in peers.rules(shape).items()}
    without_backward = {} if states else peers.forward_only(shape, sets)
    size = shape.size(bench.shapes)
    passes = [limits.delta_forward(size), limits.delta_backward(size)]
    for what, how, count in HOW:
        values = timed(bench, contenders | (without_backward if how == "forward" else {}), how)
        yield Row(case, what, values, bench.ceilings.floor_ms(*passes[:count]), checks(bench, shape, values))
    yield Row(case, ACTIVATIONS, memory(calls(contenders, "keep"), bench.clock))


def checks(bench: Bench, shape: Shape, values: dict[str, Value]) -> tuple[Check, ...]:
    """Return the targets of a shape: FlashQLA's time where it computes the shape, and a share of fla's."""
    own = values[OURS].value
    against = {FLA: FLA_LIMIT}
    if (shape.key_dim, shape.value_dim) == peers.FUSED_DIMS:
        against = {peers.FLASH_QLA: FLASH_QLA_LIMIT} | against
    return tuple(
        Check(f"ours / {name}", ratio(own, values.get(name, Value()).value), limit) for name, limit in against.items()
    )


def routes(bench: Bench) -> Iterator[Case]:
    """The gated delta rule with a route, beside the same without; no peer has one.

    The route keeps 75 % of the chunks, at random in each head. "With states" has an initial and a final state too.
    """
    for shape in of_today(bench.shapes) + of_the_340m(bench.shapes)[-1:]:
        yield Case(str(shape), functools.partial(_routes, bench, shape))


def _routes(bench: Bench, shape: Shape) -> Iterator[Row]:
    plain = draw_sets(bench, shape)
    routed = draw_sets(bench, shape, share=LINEAR_SHARE)
    both = draw_sets(bench, shape, share=LINEAR_SHARE, states=shape.batch)
    contenders = {
        OURS: contender(ours(bench.shapes, bench.impl), routed),
        "full route gradient": contender(ours(bench.shapes, bench.impl, "full"), routed),
        "with states": contender(ours(bench.shapes, bench.impl), both),
        "no route": contender(ours(bench.shapes, bench.impl), plain),
    }
    size = shape.size(bench.shapes)
    passes = [limits.delta_forward(size, LINEAR_SHARE), limits.delta_backward(size, LINEAR_SHARE)]
    for what, how, count in HOW:
        values = timed(bench, contenders, how)
        against = ratio(values[OURS].value, values["no route"].value)
        note = "" if against is None else f"ours / no route {against:.2f}"
        yield Row(f"{shape}, route", what, values, bench.ceilings.floor_ms(*passes[:count]), note=note)
