"""Every wrong argument of decoding raises an error with its name, the given value and the allowed values."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels.chunk_softmax_attention import decode as softmax_decode
from nas.kernels.chunk_softmax_attention.decode import chunk_softmax_attention_step
from nas.kernels.gated_delta_rule import decode as linear_decode
from nas.kernels.gated_delta_rule.decode import gated_delta_rule_step


def rejected(name: str, value: object, given: str, allowed: str, reason: str) -> Any:
    """Return a test case of a wrong value of ``name``, with the parts that the message must contain."""
    return pytest.param(name, value, given, allowed, id=f"{name}-{reason}")


def assert_refused(error: pytest.ExceptionInfo[ValueError], *parts: str) -> None:
    assert all(part in str(error.value) for part in parts), str(error.value)


B, H, R, K, V = 2, 4, 2, 3, 5


def of(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(sizes, dtype=dtype)


@pytest.mark.parametrize(
    ("name", "value", "given", "allowed"),
    [
        rejected("q", of(B, 1, H, K), "[2, 1, 4, 3]", "[B, H, K]", "time axis"),
        rejected("k", of(B, H, K + 1), "[2, 4, 4]", "[2, 4, 3]", "other K"),
        rejected("v", of(B, H + 1, V), "[2, 5, 5]", "[2, 4, 5]", "other H"),
        rejected("q", of(B, H, K, dtype=torch.float64), "float64", "float32", "double"),
        rejected("k", of(B, H, K, dtype=torch.int64), "int64", "floating-point", "integer"),
        rejected("impl", "cuda", "'cuda'", "reference", "unknown"),
        rejected("impl", "triton", "chunk_size=4", "16, 32", "chunk size of the cache"),
    ],
)
def test_bad_softmax_step(name: str, value: object, given: str, allowed: str) -> None:
    cache = softmax_decode.empty_cache(B, H, R, K, V, chunk_size=4)
    arguments: Any = {"q": of(B, H, K), "k": of(B, H, K), "v": of(B, H, V)} | {name: value}
    with pytest.raises(ValueError) as error:
        chunk_softmax_attention_step(**arguments, cache=cache)
    assert_refused(error, name, given, allowed)
    assert cache.fill.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "value", "given", "allowed"),
    [
        rejected("q", of(B, 1, H, K), "[2, 1, 4, 3]", "[B, G, K]", "time axis"),
        rejected("q", of(B, 3, K), "[2, 4, 5]", "multiple of these 3 heads of q", "does not divide H"),
        rejected("k", of(B, H, K + 1), "[2, 4, 4]", "[2, 4, 3]", "other K"),
        rejected("v", of(B, H), "[2, 4]", "[B, H, V]", "no V"),
        rejected("g", of(B, H, 1), "[2, 4, 1]", "[2, 4]", "channels"),
        rejected("beta", of(B, H, dtype=torch.int64), "int64", "floating-point", "integer"),
        rejected("state.current", of(B, H, V, K), "[2, 4, 5, 3]", "[2, 4, 3, 5]", "transposed"),
        rejected("state.start", of(B, H, K, V, dtype=torch.float64), "float64", "float32", "double"),
        rejected("state.current", of(B, H, V, K).mT, "(60, 15, 1, 3)", "contiguous", "strided"),
        rejected("state.log_decay", of(B, H, 1), "[2, 4, 1]", "[2, 4]", "channels"),
        rejected("impl", "cuda", "'cuda'", "reference", "unknown"),
    ],
)
def test_bad_linear_step(name: str, value: Any, given: str, allowed: str) -> None:
    state = linear_decode.initial_linear_state(B, H, K, V)
    arguments: Any = {"q": of(B, H, K), "k": of(B, H, K), "v": of(B, H, V), "g": of(B, H), "beta": of(B, H)}
    if name.startswith("state."):
        state = state._replace(**{name.removeprefix("state."): value})
    else:
        arguments[name] = value
    with pytest.raises(ValueError) as error:
        gated_delta_rule_step(**arguments, state=state)
    assert_refused(error, name, given, allowed)


def test_bad_ends_of_chunks() -> None:
    cache = softmax_decode.empty_cache(B, H, R, K, V, chunk_size=4)
    state = linear_decode.initial_linear_state(B, H, K, V)
    refused: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [
        (softmax_decode.close_chunk, {"cache": cache, "route": of(B, H)}, ("route", "[2, 4]", "[2, 2]")),
        (softmax_decode.close_chunk, {"cache": cache, "route": of(B, R).bool()}, ("route", "bool", "floating-point")),
        (softmax_decode.close_chunk, {"cache": cache, "ending": 3}, ("ending=3", "from 1 to the batch of 2")),
        (softmax_decode.make_room, {"cache": cache, "ending": 0}, ("ending=0", "from 1 to the batch of 2")),
        (linear_decode.close_chunk, {"state": state, "route": of(B, 3)}, ("route", "[2, 3]", "divisor of 4")),
        (linear_decode.close_chunk, {"state": state, "route": of(B, R).bool()}, ("route", "bool", "floating-point")),
        (linear_decode.close_chunk, {"state": state, "where": of(B, 1).bool()}, ("where", "[2, 1]", "[2]")),
    ]
    for function, arguments, parts in refused:
        with pytest.raises(ValueError) as error:
            function(**arguments)
        assert_refused(error, *parts)


@pytest.mark.parametrize(
    ("name", "value", "given", "allowed"),
    [
        rejected("batch", 0, "0", "at least 1", "none"),
        rejected("routing_heads", 3, "3", "divide heads=4", "not a divisor"),
        rejected("pages", 3, "3", "at least batch * routing_heads = 4", "too few"),
        rejected("max_chunks", 2.0, "2.0", "integer", "fraction"),
        rejected("dtype", torch.int8, "torch.int8", "floating-point", "integer"),
    ],
)
def test_bad_cache(name: str, value: object, given: str, allowed: str) -> None:
    arguments: Any = {"batch": B, "heads": H, "routing_heads": R, "key_dim": K, "value_dim": V} | {name: value}
    with pytest.raises(ValueError) as error:
        softmax_decode.empty_cache(**arguments)
    assert_refused(error, name, given, allowed)


@pytest.mark.parametrize(
    ("name", "value", "given", "allowed"),
    [
        rejected("k", of(B, 9, H), "[2, 9, 4]", "[B, T, H, K]", "three axes"),
        rejected("v", of(B, 8, H, V), "[2, 8, 4, 5]", "[2, 9, 4]", "other T"),
        rejected("route", of(B, 2, R), "[2, 2, 2]", "[2, 3, R]", "open chunk missing"),
        rejected("chunk_size", 0, "0", "at least 1", "none"),
        rejected("pages", 5, "5", "needs at least 12", "too few"),
        rejected("max_chunks", 1, "1", "needs at least 2", "too few"),
    ],
)
def test_bad_prefill(name: str, value: object, given: str, allowed: str) -> None:
    arguments: Any = {"k": of(B, 9, H, K), "v": of(B, 9, H, V), "route": of(B, 3, R) + 1, "chunk_size": 4}
    with pytest.raises(ValueError) as error:
        softmax_decode.cache_of_prefill(**(arguments | {name: value}))
    assert_refused(error, name, given, allowed)


def test_bad_initial_states() -> None:
    with pytest.raises(ValueError, match="heads=0 is not allowed"):
        linear_decode.initial_linear_state(B, 0, K, V)
    with pytest.raises(ValueError, match=r"bfloat16.*float32 or float64"):
        linear_decode.initial_linear_state(B, H, K, V, dtype=torch.bfloat16)
