"""The space of chunk sizes."""

from tests.search_spaces.sizes import names, space


def test_every_routed_layer_has_every_chunk_size() -> None:
    grains = ["token_hybrid@2", "token_hybrid@8"]
    assert names(space("chunk_size", [2, 8])) == [grains] * 4
    some = space("chunk_size", [2, 8], routed_layers=[1, 3])
    assert names(some) == [["linear"], grains, ["linear"], grains]
    assert some.choosing == some.routed == (1, 3)
    assert some.decode((0, 1, 0, 0)).chunk_sizes == (4, 8, 4, 2)
