"""The joint space of operations and chunk sizes."""

from tests.search_spaces.sizes import names, space


def test_every_layer_has_every_operation_and_chunk_size() -> None:
    both = ["softmax", "linear", "token_hybrid@2", "token_hybrid@8"]
    assert names(space("joint", [2, 8], routed_layers=[1])) == [both] * 4
