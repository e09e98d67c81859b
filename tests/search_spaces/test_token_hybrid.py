"""The space of token-level hybrids: layers with a router, and errors of wrong options."""

import pytest

from nas import search_spaces
from nas.search_spaces.space import Space
from tests.nas.commands import composed


def built(*options: str) -> Space:
    config = composed("search", "+space=token_hybrid", "model.layers=4", *options)
    return search_spaces.build(config.space, config.model, vocab_size=11)


def mixers(*options: str) -> tuple[str, ...]:
    return built(*options).sizes.mixers


def test_the_space_is_listed() -> None:
    assert "token_hybrid" in search_spaces.names()


def test_every_layer_has_a_router_by_default() -> None:
    assert mixers() == ("token_hybrid",) * 4
    assert mixers("model.routed_layers=[1,3]") == ("linear", "token_hybrid", "linear", "token_hybrid")
    assert mixers("model.routed_layers=[]") == ("linear",) * 4


def test_no_layer_is_searchable() -> None:
    space = built()
    assert space.size == 1
    assert space.choosing == ()
    assert space.routed == (0, 1, 2, 3)


@pytest.mark.parametrize("layer", [4, -1])
def test_a_missing_layer_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=f"model.routed_layers has {layer}; the model has layers 0 to 3"):
        mixers(f"model.routed_layers=[0,{layer}]")


def test_sizes_that_do_not_fit_are_named_as_options() -> None:
    with pytest.raises(ValueError, match=r"model\.routing_heads=3 does not divide linear_heads=2; choose"):
        mixers("model.routing_heads=3")
    with pytest.raises(ValueError, match=r"model\.width=0 is not allowed; it must be"):
        mixers("model.width=0")
