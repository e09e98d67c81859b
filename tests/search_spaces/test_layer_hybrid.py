"""The layer-level space: every layer chooses its operation."""

from tests.search_spaces.sizes import names, space


def test_layer_hybrid_lets_every_layer_choose_its_operation() -> None:
    assert names(space("layer_hybrid")) == [["softmax", "linear", "token_hybrid@4"]] * 4
    assert names(space("layer_hybrid", operations=["softmax", "linear"])) == [["softmax", "linear"]] * 4
    assert space("layer_hybrid", operations=["softmax", "linear"]).routed == ()
