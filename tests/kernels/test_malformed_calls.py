"""Every public operation refuses every malformed argument with a ValueError that names it or the one it does not fit.

Each argument of a valid call is replaced in turn: tensors by other types, ranks, sizes, dtypes and devices, numbers by
other types, NaN and numbers out of range.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention, gated_delta_rule, hybrid_attention
from nas.kernels.branch_merge import branch_merge
from nas.kernels.chunk_softmax_attention import decode as softmax
from nas.kernels.chunk_softmax_attention import window_decode as window
from nas.kernels.delta_gates import delta_gates
from nas.kernels.gated_delta_rule import decode as linear
from nas.kernels.head_norms import head_norms
from nas.kernels.mixed_routes import mixed_routes
from nas.kernels.residual_norm import residual_norm
from nas.kernels.short_convolution import short_convolution
from nas.kernels.swiglu import swiglu

B, T, H, K, V, C, N, R = 2, 10, 4, 3, 5, 4, 3, 2
ENDLESS = 10**18


class Call(NamedTuple):
    """A valid call: the operation, its arguments, and the names of those that may be None."""

    operation: Callable[..., Any]
    arguments: dict[str, Any]
    optional: tuple[str, ...] = ()


def of(*sizes: int) -> Tensor:
    return torch.zeros(sizes)


def calls() -> dict[str, Call]:
    """Return a valid call of every public operation, with new caches and states."""
    prefix = {"q": of(B, T, H, K), "k": of(B, T, H, K), "v": of(B, T, H, V)}
    token = {"q": of(B, H, K), "k": of(B, H, K), "v": of(B, H, V)}
    gates, chunks = {"g": of(B, T, H), "beta": of(B, T, H)}, {"route": of(B, N, H), "chunk_size": C}
    pair = {"softmax_q": of(B, T, H, K), "softmax_k": of(B, T, H, K), "linear_q": of(B, T, R, K)}
    pair |= {"linear_k": of(B, T, R, K), "v": of(B, T, 8), "g": of(B, T, R), "beta": of(B, T, R)}
    pair |= {"softmax_route": of(B, N, R), "linear_route": of(B, N, R), "chunk_size": C}
    cache = {"batch": B, "heads": H, "routing_heads": R, "key_dim": K, "value_dim": V}
    branches = {"softmax_o": of(B, T, H, 2), "linear_o": of(B, T, R, 4), "softmax_weight": of(2)}
    branches |= {"linear_weight": of(2), "scores": of(B, T, 2 * H), "gate": of(B, T, 8), "eps": 1e-6}
    ring = window.window_cache_of_prefill(prefix["k"], prefix["v"], window=4)
    state, pages = linear.initial_linear_state(B, H, K, V), softmax.empty_cache(**cache, chunk_size=C)
    packed = {"cu_seqlens": torch.tensor([0, 3, T])}
    routed, sizes = ("route", "scale"), {"chunk_size": C, "pages": 8, "max_chunks": 4}
    return {
        "softmax": Call(chunk_softmax_attention, prefix | chunks | {"scale": 1.0}, routed),
        "window": Call(chunk_softmax_attention, prefix | {"window": 3}, ("window",)),
        "packed softmax": Call(
            chunk_softmax_attention, {name: x[:1] for name, x in prefix.items()} | packed, ("cu_seqlens",)
        ),
        "linear": Call(
            gated_delta_rule, prefix | gates | chunks | {"scale": 1.0, "initial_state": of(B, H, K, V)},
            (*routed, "initial_state"),
        ),
        "packed linear": Call(
            gated_delta_rule, {name: x[:1] for name, x in (prefix | gates).items()} | packed, ("cu_seqlens",)
        ),
        "packed convolution": Call(
            short_convolution, {"x": of(1, T, 8), "weight": of(8, 4)} | packed, ("cu_seqlens",)
        ),
        "hybrid": Call(hybrid_attention, pair),
        "norms": Call(
            head_norms, {"x": of(B, T, 8), "weight": of(2), "linear_heads": 2, "softmax_heads": 4, "eps": 1e-6},
            ("linear_heads",),
        ),
        "delta gates": Call(
            delta_gates,
            {"decay": of(B, T, H), "write": of(B, T, H), "strongest": 1.0}
            | {name: of(H) for name in ("log_rate", "decay_bias", "write_bias")},
            ("write_bias",),
        ),
        "residual norm": Call(
            residual_norm, {"x": of(B, T, 8), "delta": of(B, T, 8), "weight": of(8), "eps": 1e-6}
        ),
        "merge": Call(branch_merge, branches),
        "convolution": Call(short_convolution, {"x": of(B, T, 8), "weight": of(8, 4)}),
        "swiglu": Call(swiglu, {"x": of(B, T, 8)}),
        "routes": Call(mixed_routes, {"weights": of(B, N, 2), "first": of(), "second": of(), "hybrid": of()}),
        "softmax step": Call(softmax.chunk_softmax_attention_step, token | {"cache": pages, "scale": 1.0}, ("scale",)),
        "softmax close": Call(softmax.close_chunk, {"cache": pages, "route": of(B, R)}, ("route",)),
        "pages in use": Call(softmax.pages_in_use, {"cache": pages}),
        "cache": Call(softmax.empty_cache, cache | sizes, ("pages",)),
        "cache of prefill": Call(
            softmax.cache_of_prefill,
            {"k": prefix["k"], "v": prefix["v"], "dtype": torch.float32} | chunks | {"pages": 40, "max_chunks": 9},
            ("route", "dtype", "pages", "max_chunks"),
        ),
        "window step": Call(window.window_attention_step, token | {"cache": ring, "scale": 1.0}, ("scale",)),
        "window cache": Call(window.window_cache_of_prefill, {"k": prefix["k"], "v": prefix["v"], "window": 4}),
        "window bytes": Call(window.bytes_in_use, {"cache": ring}),
        "linear prefill": Call(linear.gated_delta_rule_prefill, prefix | gates | chunks | {"scale": 1.0}, routed),
        "linear step": Call(
            linear.gated_delta_rule_step, token | {"g": of(B, H), "beta": of(B, H), "state": state, "scale": 1.0},
            ("scale",),
        ),
        "linear state": Call(linear.initial_linear_state, {"batch": B, "heads": H, "key_dim": K, "value_dim": V}),
        "linear close": Call(
            linear.close_chunk, {"state": state, "route": of(B, R), "where": torch.ones(B, dtype=torch.bool)},
            ("route", "where"),
        ),
    }  # fmt: skip


def wrong_values(value: object) -> Iterator[tuple[str, object]]:
    """Yield malformed values for an argument with this valid value, each with a name."""
    yield from (("text", "x"), ("list", [1]), ("None", None))
    if isinstance(value, Tensor):
        yield from (
            ("scalar", value.flatten()[0]),
            ("one axis more", value[None]),
            ("no elements", torch.atleast_1d(value)[..., :0]),
        )
        yield from (
            ("integers", value.long()),
            ("complex", value.to(torch.complex64)),
            ("other device", value.to("meta")),
        )
        return
    yield "tensor", of(2)
    if isinstance(value, int | float):
        yield from (("NaN", math.nan), ("infinite", math.inf), ("true", True))
    if isinstance(value, int):
        yield from (("0", 0), ("negative", -1), ("fraction", 2.5))


VALID = {
    *(("swiglu", "x", "one axis more"), ("swiglu", "x", "other device"), ("routes", "weights", "one axis more")),
    *(("routes", name, "scalar") for name in ("first", "second", "hybrid")),
    *((f"packed {name}", "cu_seqlens", "integers") for name in ("softmax", "linear", "convolution")),
}
"""Replaced values that are right: any rank, the only tensor of a call on any device, and integers."""


@pytest.mark.parametrize("name", calls())
def test_malformed_argument_is_named(name: str) -> None:
    call = calls()[name]
    call.operation(**call.arguments)
    wrong = []
    for argument, value in call.arguments.items():
        for kind, given in wrong_values(value):
            if (given is None and argument in call.optional) or (name, argument, kind) in VALID:
                continue
            try:
                call.operation(**(call.arguments | {argument: given}))
            except ValueError as error:
                if not any(other in str(error) for other in call.arguments):
                    wrong.append(f"{argument}, {kind}: {error}")
            except Exception as error:
                wrong.append(f"{argument}, {kind}: {type(error).__name__}: {error}")
            else:
                wrong.append(f"{argument}, {kind}: accepted")
    assert not wrong, "\n".join(wrong)


PAIR = ("softmax_q", "softmax_k", "linear_q", "linear_k", "v", "softmax_route", "linear_route")


@pytest.mark.parametrize("argument", PAIR)
def test_wrong_tensor_of_one_branch_is_named(argument: str) -> None:
    """The message has the name of the tensor with its branch, not the name in the operation of that branch."""
    operation, arguments, _ = calls()["hybrid"]
    right = arguments[argument]
    for given in (right[None], right[..., :0], right[:1]):
        with pytest.raises(ValueError, match=rf"\b{argument}\b|^v has shape"):
            operation(**(arguments | {argument: given}))


@pytest.mark.parametrize("eps", [-1.0, -math.inf])
@pytest.mark.parametrize("name", ["norms", "merge"])
def test_negative_eps_is_refused(name: str, eps: float) -> None:
    call = calls()[name]
    with pytest.raises(ValueError, match=r"^eps=.* at least 0"):
        call.operation(**(call.arguments | {"eps": eps}))


def test_sizes_without_end_are_refused_where_memory_is_allocated() -> None:
    for name in ("cache", "window cache", "linear state", "cache of prefill"):
        call = calls()[name]
        for argument, value in call.arguments.items():
            if isinstance(value, int):
                with pytest.raises(ValueError, match=f"^{argument}=10+ is not allowed"):
                    call.operation(**(call.arguments | {argument: ENDLESS}))


@pytest.mark.parametrize("name", ["softmax", "linear", "hybrid", "linear prefill"])
def test_chunk_without_end_is_the_whole_sequence(name: str) -> None:
    operation, arguments, _ = calls()[name]
    for argument, value in arguments.items():
        if isinstance(value, Tensor):
            value = value[:, :1] if argument.endswith("route") else value
            arguments[argument] = torch.rand_like(value) * (-1 if argument == "g" else 1)
    results = [operation(**(arguments | {"chunk_size": size})) for size in (ENDLESS, T)]
    for endless, whole in zip(*(x if isinstance(x, tuple) else (x,) for x in results), strict=True):
        if isinstance(endless, Tensor):
            torch.testing.assert_close(endless, whole)


def test_window_without_end_is_causal_attention() -> None:
    q, k, v = torch.rand(3, B, T, H, K).unbind()
    assert torch.equal(chunk_softmax_attention(q, k, v, window=ENDLESS), chunk_softmax_attention(q, k, v))
