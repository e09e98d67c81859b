"""Every wrong argument raises an error with its name, the given value and the allowed values."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention, gated_delta_rule

B, T, H, K, V, CHUNK_SIZE, N = 2, 10, 4, 3, 5, 4, 3


def softmax(**changed: Any) -> Tensor:
    arguments: dict[str, Any] = {"q": zeros(B, T, H, K), "k": zeros(B, T, H, K), "v": zeros(B, T, H, V)}
    return chunk_softmax_attention(**(arguments | {"chunk_size": CHUNK_SIZE} | changed))


def linear(**changed: Any) -> Tensor:
    arguments: dict[str, Any] = {"q": zeros(B, T, H, K), "k": zeros(B, T, H, K), "v": zeros(B, T, H, V)}
    arguments |= {"g": zeros(B, T, H), "beta": zeros(B, T, H), "chunk_size": CHUNK_SIZE}
    return gated_delta_rule(**(arguments | changed))


def zeros(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(sizes, dtype=dtype)


def rejected(name: str, value: object, given: str, allowed: str, reason: str) -> Any:
    """Return a test case of a wrong value of ``name``, with the parts that the message must contain."""
    return pytest.param(name, value, given, allowed, id=f"{name}-{reason}")


EITHER_OPERATION = [
    rejected("q", zeros(B, T, H), "[2, 10, 4]", "[B, T, H, K]", "three axes"),
    rejected("q", zeros(B, T, H, K, 1), "[2, 10, 4, 3, 1]", "[B, T, H, K]", "five axes"),
    rejected("q", zeros(B, 0, H, K), "[2, 0, 4, 3]", "at least 1", "no tokens"),
    rejected("q", zeros(B, T, H, K, dtype=torch.int64), "torch.int64", "floating-point", "integer"),
    rejected("k", zeros(B, T, H, K + 1), "[2, 10, 4, 4]", "[2, 10, 4, 3]", "other K than q"),
    rejected("k", zeros(B, T + 1, H, K), "[2, 11, 4, 3]", "[2, 10, 4, 3]", "other T than q"),
    rejected("k", zeros(B, T, H, K, dtype=torch.int32), "torch.int32", "floating-point", "integer"),
    rejected("v", zeros(B, T, H), "[2, 10, 4]", "[B, T, H, V]", "three axes"),
    rejected("v", zeros(B, T, 1, V), "[2, 10, 1, 5]", "[2, 10, 4]", "other H than q"),
    rejected("v", zeros(B, T, H, 0), "[2, 10, 4, 0]", "[B, T, H, V]", "no channels"),
    rejected("v", zeros(B, T, H, V, dtype=torch.bool), "torch.bool", "floating-point", "bool"),
    rejected("k", zeros(B, T, H, K).to("meta"), "k is on meta", "device of q, cpu", "other device"),
    rejected("route", zeros(B, N, H).to("meta"), "route is on meta", "device of q, cpu", "other device"),
    rejected("route", zeros(B, N), "[2, 3]", "[B, N, R] = [2, 3, R]", "two axes"),
    rejected("route", zeros(B + 1, N, H), "[3, 3, 4]", "[2, 3, R]", "other batch"),
    rejected("route", zeros(B, N - 1, H), "[2, 2, 4]", "[2, 3, R]", "chunk missing"),
    rejected("route", zeros(B, N + 1, H), "[2, 4, 4]", "ceil(T / chunk_size)", "chunk too many"),
    rejected("route", zeros(B, N, 3), "3 routing heads", "divide the 4 heads", "R does not divide H"),
    rejected("route", zeros(B, N, 2 * H), "8 routing heads", "divide the 4 heads", "R above H"),
    rejected("route", zeros(B, N, 0), "0 routing heads", "divide the 4 heads", "R is 0"),
    rejected("route", zeros(B, N, H, dtype=torch.int64), "torch.int64", "floating-point", "integer"),
    rejected("chunk_size", 0, "chunk_size=0", "integer of at least 1", "0"),
    rejected("chunk_size", -1, "chunk_size=-1", "integer of at least 1", "negative"),
    rejected("chunk_size", 2.5, "chunk_size=2.5", "integer of at least 1", "fraction"),
    rejected("chunk_size", True, "chunk_size=True", "integer of at least 1", "bool"),
    rejected("impl", "cuda", "impl='cuda'", "auto, reference, triton", "unknown"),
    rejected("route_grad", "none", "route_grad='none'", "selected, full", "unknown"),
]
LINEAR_ALONE = [
    rejected("g", zeros(B, T, 1), "[2, 10, 1]", "[B, T, H] = [2, 10, 4]", "other H than q"),
    rejected("g", zeros(B, T, H, 1), "[2, 10, 4, 1]", "[B, T, H] = [2, 10, 4]", "four axes"),
    rejected("g", zeros(B, T, H, dtype=torch.int64), "torch.int64", "floating-point", "integer"),
    rejected("beta", zeros(B, T + 1, H), "[2, 11, 4]", "[B, T, H] = [2, 10, 4]", "other T than q"),
    rejected("beta", zeros(B, T, H, dtype=torch.int64), "torch.int64", "floating-point", "integer"),
    rejected("initial_state", zeros(B, H, V, K), "[2, 4, 5, 3]", "[B, H, K, V] = [2, 4, 3, 5]", "K and V swapped"),
    rejected("initial_state", zeros(H, K, V), "[4, 3, 5]", "[B, H, K, V] = [2, 4, 3, 5]", "no batch"),
    rejected("initial_state", zeros(B, H, K, V, dtype=torch.int64), "torch.int64", "floating-point", "integer"),
]


@pytest.mark.parametrize("operation", [softmax, linear])
def test_right_arguments_are_accepted(operation: Callable[..., Tensor]) -> None:
    for route in (None, zeros(B, N, 1), zeros(B, N, 2), zeros(B, N, H)):
        assert operation(route=route).shape == (B, T, H, V)


@pytest.mark.parametrize(("name", "value", "given", "allowed"), EITHER_OPERATION)
@pytest.mark.parametrize("operation", [softmax, linear])
def test_wrong_argument(operation: Callable[..., Tensor], name: str, value: Any, given: str, allowed: str) -> None:
    assert_rejected(operation, name, value, given, allowed)


@pytest.mark.parametrize(("name", "value", "given", "allowed"), LINEAR_ALONE)
def test_wrong_argument_of_the_linear_operation(name: str, value: Any, given: str, allowed: str) -> None:
    assert_rejected(linear, name, value, given, allowed)


def assert_rejected(operation: Callable[..., Tensor], name: str, value: Any, given: str, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        operation(**{name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert given in message
    assert allowed in message
