"""The space of layer-level hybrids."""

from tests.search_spaces.sizes import names, space


def test_every_layer_has_every_operation() -> None:
    assert names(space("layer_hybrid")) == [["softmax", "linear", "token_hybrid@4"]] * 4
    assert names(space("layer_hybrid", operations=["softmax", "linear"])) == [["softmax", "linear"]] * 4
    assert space("layer_hybrid", operations=["softmax", "linear"]).routed == ()
