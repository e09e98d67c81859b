"""The joint space: every layer chooses its operation and its chunk size."""

from tests.search_spaces.sizes import names, space


def test_joint_lets_every_layer_choose_both() -> None:
    both = ["softmax", "linear", "token_hybrid@2", "token_hybrid@8"]
    assert names(space("joint", [2, 8], routed_layers=[1])) == [both] * 4
