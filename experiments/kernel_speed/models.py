"""Measurements of a user's workloads: a whole mixer, and a whole model that reads a long text."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from unittest.mock import patch

import torch
from torch import Tensor, nn

from experiments.kernel_speed import limits, peers
from experiments.kernel_speed.contenders import FLA, Contender, calls
from experiments.kernel_speed.inputs import hard_routes
from experiments.kernel_speed.operations import ACTIVATIONS, HOW, SHARE, launched, timed
from experiments.kernel_speed.rows import OURS, Bench, Case, Check, Row, ratio
from experiments.kernel_speed.timing import Call, Value, interleaved, memory
from nas.kernels.arguments import RouteGrad
from nas.models.language_model import LanguageModel
from nas.models.mixers import TokenMixer
from nas.models.operations import softmax as softmax_operation
from nas.models.routing import Policy, first_alone
from nas.search_spaces.architecture import Architecture

PUBLIC_LAYER_MS = {2048: 14.9, 8192: 15.4, 32768: 32.4}
"""Forward + backward of the public NAtS-L layer on an H200 by T, measured on another day, not side by side."""

LAYER_LIMIT = 1.5
ACTIVATIONS_LIMIT = 1.0
PUBLIC_LIMIT = 0.5

PREFILL_SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)
PREFILL_LIMIT = 5.4
OURS_SOFTMAX, CUDNN_SOFTMAX = "softmax everywhere, ours", "softmax everywhere, cuDNN"


def given_routes(to_softmax: Tensor) -> Policy:
    """Return a policy with these hard routes [B, N, R]; the router has the gradient of its softmax."""
    hard = torch.stack([to_softmax, 1 - to_softmax], dim=-1).detach()

    def policy(layer: int, logits: Tensor) -> Tensor:
        soft = logits.softmax(-1)
        return hard.to(soft.dtype) + (soft - soft.detach())

    return policy


def mixer(bench: Bench) -> Iterator[Case]:
    """A whole routed mixer, against flash-linear-attention's Gated DeltaNet layer of the same sizes.

    Parameters and input in bf16 for both; "autocast" is ours with float32 parameters and input, as in training. The
    routes are given, and the router has the straight-through gradient of its softmax. The time of the public NAtS-L
    layer (router near 0.5) was recorded in another run on a GPU of this kind: it is not side by side.
    """
    for length in bench.shapes.lengths:
        yield Case(bench.shapes.case(length), lambda length=length: _mixer(bench, length))  # type: ignore[misc]


def _mixer(bench: Bench, length: int) -> Iterator[Row]:
    shapes, case = bench.shapes, f"{bench.shapes.case(length)}, p={SHARE:g}"
    contenders = _layers(bench, length)
    passes = limits.mixer_passes(shapes, "token_hybrid", shapes.batch(length), length, SHARE)
    kept = memory(calls(contenders, "keep"), bench.clock)  # before the times, for which the peer tunes itself longest
    check = Check("ours / fla layer", ratio(kept[OURS].value, kept[FLA].value), ACTIVATIONS_LIMIT)
    yield Row(case, ACTIVATIONS, kept, checks=(check,))
    for what, how, count in HOW:
        values = timed(bench, contenders, how)
        own = values[OURS].value
        checks = []
        if how == "train":
            checks.append(Check("ours / fla layer", ratio(own, values[FLA].value), LAYER_LIMIT))
            if bench.on_device and length in PUBLIC_LAYER_MS:
                recorded = ratio(own, PUBLIC_LAYER_MS[length])
                checks.append(Check("ours / recorded public NAtS-L layer", recorded, PUBLIC_LIMIT))
        yield Row(case, what, values, bench.ceilings.floor_ms(*passes[:count]), tuple(checks))
    yield launched(bench, case, contenders)


def _layers(bench: Bench, length: int) -> dict[str, Contender]:
    """Return our mixer with parameters in the measured dtype, the same under autocast, and the peer's layer.

    A layer that cannot be built fails when it is called, so that the others are still measured.
    """
    shapes, device = bench.shapes, bench.clock.device
    batch = shapes.batch(length)
    to_softmax, _ = hard_routes(shapes, batch, length, SHARE, device)
    policy = given_routes(to_softmax)
    x = torch.randn(batch, length, shapes.architecture.width, device=device)
    dy = torch.randn_like(x)

    def routed(route_grad: RouteGrad, autocast: bool) -> Contender:
        torch.manual_seed(0)
        with torch.device(device):
            layer = TokenMixer(shapes.architecture, shapes.architecture.routed_layers[0], route_grad)
        layer = layer if autocast else layer.to(shapes.dtype)

        def run(given: Tensor, *_: Tensor) -> Tensor:
            with _autocast(bench) if autocast else nullcontext():
                return layer(given, policy)[0]

        return _of_module(layer, run, x if autocast else x.to(shapes.dtype), dy.to(_out_dtype(bench, autocast)))

    def peer() -> Contender:
        torch.manual_seed(0)
        with torch.device(device):
            layer = peers.fla_layer(shapes.architecture).to(shapes.dtype)
        return _of_module(layer, lambda given, *_: layer(given)[0], x.to(shapes.dtype), dy.to(shapes.dtype))

    made: dict[str, Callable[[], Contender]] = {
        OURS: lambda: routed("selected", False),
        "ours, full route gradient": lambda: routed("full", False),
        "ours, autocast": lambda: routed("selected", True),
        FLA: peer,
    }
    return {name: _or_failing(make) for name, make in made.items()}


def _autocast(bench: Bench) -> AbstractContextManager[object]:
    return torch.autocast(bench.clock.device.type, torch.bfloat16)


def _out_dtype(bench: Bench, autocast: bool) -> torch.dtype:
    return torch.bfloat16 if autocast else bench.shapes.dtype


def _of_module(module: nn.Module, run: Callable[..., Tensor], x: Tensor, dy: Tensor) -> Contender:
    """Return a module as a contender, with the gradients of its input and all its parameters."""
    return Contender(run, [(x.detach().requires_grad_(), *module.parameters())], [(dy,)])


def _or_failing(make: Callable[[], Contender]) -> Contender:
    """Return the result of ``make``, or a contender that fails with the error of ``make``."""
    try:
        return make()
    except Exception as error:
        wrong = error

        def fail() -> Tensor:
            raise wrong

        return Contender(fail, [()], [()])


def prefill(bench: Bench) -> Iterator[Case]:
    """The whole 340M model reads one long text, for the logits of its last token.

    p is the share at the six layers that have a router; the other 15 are linear. "Softmax everywhere" is the same model
    with softmax attention in all 21 layers, by our kernel and by cuDNN's.
    """
    yield Case(f"T={bench.shapes.prefill_tokens} (B=1)", lambda: _prefill(bench))


def _prefill(bench: Bench) -> Iterator[Row]:
    shapes, device = bench.shapes, bench.clock.device
    length = shapes.prefill_tokens
    tokens = torch.randint(shapes.architecture.vocab_size, (1, length), device=device)
    hybrid = model_of(bench, shapes.architecture)
    softmax = model_of(bench, shapes.architecture.with_mixer("softmax"))
    runs: dict[str, Call] = {}
    for share in PREFILL_SHARES:
        policy = given_routes(hard_routes(shapes, 1, length, share, device)[0])
        runs[f"p={share:g}"] = lambda _, policy=policy: last_logits(hybrid, tokens, policy)  # type: ignore[misc]
    runs[OURS_SOFTMAX] = lambda _: last_logits(softmax, tokens, first_alone)
    runs[CUDNN_SOFTMAX] = lambda _: _on_cudnn(bench, softmax, tokens)
    values = interleaved(runs, bench.clock, 3 * bench.seconds)
    case = f"T={length} (B=1)"
    faster = ratio(values[CUDNN_SOFTMAX].value, values[f"p={SHARE:g}"].value)
    check = Check(f"softmax everywhere, cuDNN / p={SHARE:g}", faster, PREFILL_LIMIT, at_least=True)
    yield Row(case, "forward ms", values, checks=(check,))
    yield _prefill_floors(bench, case)


def model_of(bench: Bench, architecture: Architecture) -> LanguageModel:
    """Return a model with random weights, in the measured dtype."""
    torch.manual_seed(0)
    with torch.device(bench.clock.device):
        model = LanguageModel(architecture, "selected")
    return model.to(bench.shapes.dtype).eval()


def _prefill_floors(bench: Bench, case: str) -> Row:
    shapes, length = bench.shapes, bench.shapes.prefill_tokens
    own, dense = shapes.architecture.mixers, ("softmax",) * len(shapes.architecture.mixers)
    works = {f"p={share:g}": limits.prefill(shapes, own, length, share) for share in PREFILL_SHARES}
    works |= {name: limits.prefill(shapes, dense, length, 1.0) for name in (OURS_SOFTMAX, CUDNN_SOFTMAX)}
    return Row(case, "floor ms", {name: Value(bench.ceilings.floor_ms(work)) for name, work in works.items()})


@torch.no_grad()
def last_logits(model: LanguageModel, tokens: Tensor, policy: Policy) -> Tensor:
    """Return the logits [B, vocab] of the last position, without computing the others."""
    hidden, _ = model.hidden(tokens, policy)
    return model.read(hidden[:, -1])


def _on_cudnn(bench: Bench, model: LanguageModel, tokens: Tensor) -> Tensor:
    """Return `last_logits` of a model of plain softmax attention that uses cuDNN's attention instead of ours."""

    def attention(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None, **_: object) -> Tensor:
        if route is not None:
            raise ValueError("route is given; this replacement supports plain causal attention only; give route=None.")
        o = peers.sdpa(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), bench.backend("cudnn"))
        return o.transpose(1, 2)

    with patch.object(softmax_operation, "chunk_softmax_attention", attention):
        return last_logits(model, tokens, first_alone)
