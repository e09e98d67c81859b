"""The token-level space: which layers get a router, and what it refuses."""

from typing import Any

import pytest

import search_spaces
from nas.config import ModelConfig, SpaceConfig
from nas.errors import UserError
from nas.space import Space
from tests.search_spaces.sizes import SIZES


def space(**changed: Any) -> Space:
    config = SpaceConfig("token_hybrid", "full", ["token_hybrid"], None, tiny_layers=2)
    return search_spaces.build(config, ModelConfig(**(SIZES | changed)), vocab_size=11)


def mixers(**changed: Any) -> tuple[str, ...]:
    return space(**changed).sizes.mixers


def test_it_is_a_single_architecture() -> None:
    assert space().size == 1
    assert space().routed == (0, 1, 2, 3)
    assert space().decode((0,) * 4) == space().sizes


def test_it_is_listed() -> None:
    assert "token_hybrid" in search_spaces.names()


def test_every_layer_has_a_router_unless_told_otherwise() -> None:
    assert mixers() == ("token_hybrid",) * 4
    assert mixers(routed_layers=[1, 3]) == ("linear", "token_hybrid", "linear", "token_hybrid")
    assert mixers(routed_layers=[]) == ("linear",) * 4


@pytest.mark.parametrize("layer", [4, -1])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(UserError, match=f"model.routed_layers has {layer}; the model has layers 0 to 3"):
        mixers(routed_layers=[0, layer])


def test_sizes_that_do_not_fit_are_named_as_options() -> None:
    with pytest.raises(UserError, match=r"model\.routing_heads=3 does not divide linear_heads=2; choose"):
        mixers(routing_heads=3)
    with pytest.raises(UserError, match=r"model\.chunk_sizes=\(0, 0, 0, 0\) is not allowed; each must be"):
        mixers(chunk_size=0)
