"""Measurements of the operations: both branches together, each alone, over shares and over lengths."""

from collections.abc import Iterator

from torch import Tensor

from experiments.kernel_speed import limits
from experiments.kernel_speed.contenders import (
    CUDNN,
    FLA,
    SETS,
    Contender,
    calls,
    cudnn,
    fla,
    flex,
    input_sets,
    other_sdpa,
    ours_both,
    ours_linear,
    ours_softmax,
    route_sets,
)
from experiments.kernel_speed.inputs import Inputs, hard_routes, inputs
from experiments.kernel_speed.limits import Size, Work
from experiments.kernel_speed.rows import OURS, Bench, Case, Check, Row, fastest, linear_fit, ratio
from experiments.kernel_speed.timing import Value, interleaved, memory

SHARE = 0.25
SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)

FORWARD = "forward ms"
TRAIN = "forward + backward ms"
ACTIVATIONS = "activations MiB"
LAUNCH = "launching forward + backward, ms of the host"

COMPOSITE_LIMIT = 0.9
ACTIVATIONS_LIMIT = 1400.0
SOFTMAX_LIMIT = 1.3
NO_SOFTMAX_LIMIT = 1.1
PER_TOKEN_LIMIT = 1.2

HOW = ((FORWARD, "forward", 1), (TRAIN, "train", 2))
"""Timed quantity, the contender's method, and how many of its passes that is."""


def timed(bench: Bench, contenders: dict[str, Contender], how: str) -> dict[str, Value]:
    """Time each contender, in milliseconds."""
    return interleaved(calls(contenders, how), bench.clock, bench.seconds)


def launched(bench: Bench, case: str, contenders: dict[str, Contender]) -> Row:
    """Time the host's launch of both passes of each contender."""
    return Row(case, LAUNCH, interleaved(calls(contenders, "train"), bench.launch_clock, bench.seconds / 3))


def both(bench: Bench) -> Iterator[Case]:
    """Both branches on one route, against a combination of separate kernels: fla + p times cuDNN.

    The branches share their values and have separate queries and keys. "fla" is the gated delta rule of
    flash-linear-attention over all chunks; of the two layouts for cuDNN the faster counts.
    """
    for length in bench.shapes.lengths:
        yield Case(bench.shapes.case(length), lambda length=length: _both(bench, length))  # type: ignore[misc]


def _both(bench: Bench, length: int) -> Iterator[Row]:
    case = f"{bench.shapes.case(length)}, p={SHARE:g}"
    sets = input_sets(bench, length)
    ours = {OURS: ours_both(bench, sets, route_sets(bench, length, SHARE))}
    contenders = ours | {FLA: fla(sets)} | cudnn(bench, sets)
    shape = bench.shapes, bench.shapes.batch(length), length, SHARE
    passes = limits.both_forward(*shape), limits.both_backward(*shape)
    name = f"{FLA} + {SHARE:g} x cuDNN"
    for what, how, count in HOW:
        values = timed(bench, contenders, how)
        linear, softmax = values[FLA].value, fastest(values, *CUDNN)
        composite = None if linear is None or softmax is None else linear + SHARE * softmax
        check = Check(f"ours / ({name})", ratio(values[OURS].value, composite), COMPOSITE_LIMIT)
        yield Row(case, what, values | {name: Value(composite)}, bench.ceilings.floor_ms(*passes[:count]), (check,))
    yield launched(bench, case, contenders)
    values = memory(calls(contenders, "keep"), bench.clock)
    yield Row(case, ACTIVATIONS, values, checks=(Check("ours, MiB,", values[OURS].value, ACTIVATIONS_LIMIT),))


def softmax(bench: Bench) -> Iterator[Case]:
    """Causal attention without a route.

    "Ours, window w": each query sees the last w tokens, so "floor" and "of limit" do not refer to it. PyTorch's flash
    backend supports one head size only: its q and k are padded with zeros to the head size of v.
    """
    for length in bench.shapes.lengths:
        yield Case(bench.shapes.case(length), lambda length=length: _softmax(bench, length))  # type: ignore[misc]


def _softmax(bench: Bench, length: int) -> Iterator[Row]:
    case = bench.shapes.case(length)
    sets = input_sets(bench, length)
    contenders = {OURS: ours_softmax(bench, sets)} | cudnn(bench, sets) | other_sdpa(bench, sets)
    contenders[f"{OURS}, window {bench.shapes.window}"] = ours_softmax(bench, sets, window=bench.shapes.window)
    size = Size.softmax(bench.shapes, bench.shapes.batch(length), length)
    yield from _against(bench, case, contenders, CUDNN, SOFTMAX_LIMIT, _softmax_passes(size))


def flexible(bench: Bench) -> Iterator[Case]:
    """Routed attention, against FlexAttention with the route as its block mask, at the middle length."""
    length = bench.shapes.lengths[len(bench.shapes.lengths) // 2]
    yield Case(bench.shapes.case(length), lambda: _flexible(bench, length))


def _flexible(bench: Bench, length: int) -> Iterator[Row]:
    case = f"{bench.shapes.case(length)}, p={SHARE:g}"
    sets, routes = input_sets(bench, length), route_sets(bench, length, SHARE)
    contenders = {OURS: ours_softmax(bench, sets, routes)}
    for chunks in (1, 2):
        block_size = chunks * bench.shapes.architecture.chunk_size
        contenders[f"FlexAttention, blocks of {block_size}"] = flex(bench, sets, routes, block_size)
    size = Size.softmax(bench.shapes, bench.shapes.batch(length), length)
    passes = _softmax_passes(size, SHARE)
    for what, how, count in HOW:
        yield Row(case, what, timed(bench, contenders, how), bench.ceilings.floor_ms(*passes[:count]))


def _against(
    bench: Bench, case: str, contenders: dict[str, Contender], others: tuple[str, ...], limit: float, passes: list[Work]
) -> Iterator[Row]:
    """Yield rows of ours against the fastest of ``others``, with a target on forward + backward."""
    for what, how, count in HOW:
        values = timed(bench, contenders, how)
        against = ratio(values[OURS].value, fastest(values, *others))
        floor = bench.ceilings.floor_ms(*passes[:count])
        if how == "train":
            yield Row(case, what, values, floor, (Check(f"ours / {others[0]}", against, limit),))
        else:
            yield Row(case, what, values, floor, note="" if against is None else f"ours / {others[0]} {against:.2f}")
    yield Row(case, ACTIVATIONS, memory(calls(contenders, "keep"), bench.clock))


def _softmax_passes(size: Size, share: float = 1.0) -> list[Work]:
    return [limits.softmax_forward(size, share), limits.softmax_backward(size, share)]


def _delta_passes(size: Size, share: float = 1.0) -> list[Work]:
    return [limits.delta_forward(size, share), limits.delta_backward(size, share)]


def sweep(bench: Bench) -> Iterator[Case]:
    """Cost of both branches over the share of softmax.

    "Linear alone" is the gated delta rule without a route.
    """
    for length in bench.shapes.lengths:
        yield Case(bench.shapes.case(length), lambda length=length: _sweep(bench, length))  # type: ignore[misc]


def _sweep(bench: Bench, length: int) -> Iterator[Row]:
    case, alone, full = bench.shapes.case(length), "linear alone", f"p={SHARE:g}, full route gradient"
    sets = input_sets(bench, length)
    contenders = {f"p={p:g}": ours_both(bench, sets, route_sets(bench, length, p)) for p in SHARES}
    contenders[full] = ours_both(bench, sets, route_sets(bench, length, SHARE), "full")
    contenders[alone] = ours_linear(bench, sets)
    values = timed(bench, contenders, "train")
    check = Check("p=0 / linear alone", ratio(values["p=0"].value, values[alone].value), NO_SOFTMAX_LIMIT)
    points = [(p, ms) for p in SHARES if (ms := values[f"p={p:g}"].value) is not None]
    note = ""
    if len(points) > 2:
        intercept, slope, r2 = linear_fit([p for p, _ in points], [ms for _, ms in points])
        note = f"fit {intercept:.2f} + {slope:.2f} p ms, R^2 = {r2:.4f}"
    yield Row(case, TRAIN, values, checks=(check,), note=note)
    yield _sweep_floors(bench, length)


def _sweep_floors(bench: Bench, length: int) -> Row:
    shape = bench.shapes, bench.shapes.batch(length), length
    floors = {
        f"p={p:g}": bench.ceilings.floor_ms(limits.both_forward(*shape, p), limits.both_backward(*shape, p))
        for p in SHARES
    }
    floors["linear alone"] = bench.ceilings.floor_ms(*_delta_passes(Size.linear(*shape)))
    return Row(bench.shapes.case(length), "floor ms", {name: Value(floor) for name, floor in floors.items()})


def length(bench: Bench) -> Iterator[Case]:
    """Cost per token of the linear branch over the length, at one number of tokens."""
    for share in (None, SHARE):
        yield Case(_length_case(bench, share), lambda share=share: _length(bench, share))  # type: ignore[misc]


def _length_case(bench: Bench, share: float | None) -> str:
    return f"{bench.shapes.length_tokens} tokens, " + ("no route" if share is None else f"routed, p={share:g}")


def _length(bench: Bench, share: float | None) -> Iterator[Row]:
    shapes, device = bench.shapes, bench.clock.device
    base = [inputs(shapes, 1, shapes.length_tokens, device, seed) for seed in range(SETS)]
    contenders = {f"T={n}": _reshaped(bench, base, n, share) for n in shapes.length_lengths}
    first, *others = contenders
    for what, how, _ in HOW:
        values = timed(bench, contenders, how)
        ratios = [ratio(values[name].value, values[first].value) for name in others]
        known = [r for r in ratios if r is not None]
        worst = max(known) if len(known) == len(others) else None
        check = Check(f"per token, worst over {first}", worst, PER_TOKEN_LIMIT)
        yield Row(_length_case(bench, share), what, values, checks=(check,))
    floor = bench.ceilings.floor_ms(*_delta_passes(Size.linear(shapes, 1, shapes.length_tokens), 1 - (share or 0.0)))
    yield Row(_length_case(bench, share), "floor, forward + backward ms", {name: Value(floor) for name in contenders})


def _reshaped(bench: Bench, base: list[Inputs], length: int, share: float | None) -> Contender:
    """Return our linear branch on the same tokens, cut into sequences of ``length``."""
    shapes = bench.shapes
    batch = shapes.length_tokens // length

    def cut(x: Tensor) -> Tensor:
        return x.view(batch, length, *x.shape[2:])

    linear = [tuple(cut(x.detach()).requires_grad_() for x in one.linear) for one in base]
    sets = [Inputs(leaves, (), cut(one.do_linear), one.do_softmax) for leaves, one in zip(linear, base, strict=True)]
    if share is None:
        return ours_linear(bench, sets)
    device = bench.clock.device
    return ours_linear(bench, sets, [hard_routes(shapes, batch, length, share, device, seed) for seed in range(SETS)])
