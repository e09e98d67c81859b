"""The options of layers between which a rule decides."""

from pathlib import Path

import pytest

from nas.errors import UserError
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.space import Space
from nas.searchers.places import Places, evenly
from tests.nas.pretrained.written import GEMMA, architecture_of, write_config

SOFTMAX, WINDOW, LINEAR, HYBRID = (Layer(name, 8) for name in ("softmax", "window", "linear", "token_hybrid"))


SIZES = Architecture(
    vocab_size=9, width=8, layers=(LINEAR,), linear_heads=1, key_dim=4, value_dim=4, softmax_heads=1, routing_heads=1,
    mlp_width=8,
)  # fmt: skip


def space_of(*options: tuple[Layer, ...], sizes: Architecture = SIZES) -> Space:
    return Space("layer_hybrid", sizes.with_layers([own[0] for own in options]), options)


@pytest.mark.parametrize(
    ("layers", "count", "expected"),
    [
        (range(4), 1, [3]),
        (range(4), 2, [1, 3]),
        (range(12), 3, [3, 7, 11]),
        ([0, 2, 4, 6, 8], 2, [4, 8]),
        (range(3), 0, []),
        (range(3), 3, [0, 1, 2]),
    ],
)
def test_layers_are_spaced_evenly_and_the_last_is_one(layers: range, count: int, expected: list[int]) -> None:
    assert evenly(layers, count) == expected


def cost(layer: int, option: int) -> float:
    """The last option is the cheapest."""
    return -option


def test_layers_that_keep_have_softmax_and_the_others_the_cheapest_other_option() -> None:
    places = Places(space_of((LINEAR,), (HYBRID, WINDOW, SOFTMAX, LINEAR), (LINEAR, SOFTMAX)), cost)
    assert places.layers == (1, 2)
    assert places.code([1]) == (0, 2, 0)
    assert places.code([2]) == (0, 3, 1)


def test_layers_keep_the_operation_of_the_pretrained_model(tmp_path: Path) -> None:
    sizes = architecture_of(write_config(tmp_path, **GEMMA))
    space = space_of((LINEAR, SOFTMAX, WINDOW), (LINEAR, SOFTMAX, WINDOW), sizes=sizes)
    assert Places(space, cost).code([0, 1]) == (2, 1), "a sliding layer, then one with full attention"


def test_a_layer_without_the_operation_is_refused() -> None:
    with pytest.raises(UserError, match="searcher=rule places softmax attention, but layer 1 has the options"):
        Places(space_of((LINEAR, SOFTMAX), (LINEAR, HYBRID)), cost)
