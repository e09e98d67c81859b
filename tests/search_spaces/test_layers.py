"""Layer-wise spaces: the options of a layer, sizes, and errors of wrong options."""

from typing import Any

import pytest

from nas.search_spaces.architecture import Layer
from tests.search_spaces.sizes import OPERATIONS, gemma, space


def test_an_operation_without_a_router_is_one_option_for_all_chunk_sizes() -> None:
    assert space("joint", [2, 8]).options[0][:2] == (Layer("softmax", 4), Layer("linear", 4))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_space_has_the_sizes_of_the_model(name: str) -> None:
    sizes = space(name, [2, 8], width=12, mlp_width=20).sizes
    assert (sizes.vocab_size, sizes.width, sizes.mlp_width, len(sizes.mixers)) == (11, 12, 20, 4)


def test_sliding_layers_of_a_pretrained_model_keep_their_window_and_have_no_router() -> None:
    made = space("joint", [2, 8], operations=["token_hybrid", "softmax", "linear", "window"], **gemma())
    window, linear = Layer("window", 4), Layer("linear", 4)
    full = (Layer("token_hybrid", 2), Layer("token_hybrid", 8), Layer("softmax", 4), linear, window)
    assert made.options == ((window, linear), full, (window, linear), (window, linear))
    alone = space("chunk_size", [2, 8], operations=["token_hybrid"], **gemma())
    assert alone.options == ((window,), full[:2], (window,), (window,))


def test_only_full_layers_of_a_pretrained_model_can_be_routed() -> None:
    assert space("token_hybrid", operations=["token_hybrid"], **gemma()).sizes.mixers == (
        "window",
        "token_hybrid",
        "window",
        "window",
    )
    with pytest.raises(ValueError, match=r"model.routed_layers has 2, a sliding layer .* give layers of: 1\."):
        space("token_hybrid", operations=["token_hybrid"], routed_layers=[1, 2], **gemma())


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"chunk_sizes": []}, r"space.chunk_sizes=\[\] is not allowed; give one or more values, each once"),
        ({"chunk_sizes": [4, 4]}, r"space.chunk_sizes=\[4, 4\] is not allowed"),
        ({"chunk_sizes": [0]}, "space.chunk_sizes has 0; give numbers of tokens of at least 1"),
        ({"operations": ["linear"] * 2}, r"space.operations=\['linear', 'linear'\] is not allowed"),
        (
            {"operations": ["hyena"]},
            "space.operations has hyena, which is unknown; choose from: softmax, linear, window, token_hybrid",
        ),
        ({"routing_heads": 3}, "model.routing_heads=3 does not divide linear_heads=2; choose"),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        space(name, **given)


@pytest.mark.parametrize("name", ["joint", "layer_hybrid"])
def test_layers_without_a_choice_are_linear(name: str) -> None:
    made = space(name, [2, 8], searchable=[3, 1])
    linear, some = (Layer("linear", 4),), space(name, [2, 8]).options[0]
    assert made.options == (linear, some, linear, some)
    assert made.choosing == (1, 3)


def test_a_missing_layer_is_refused() -> None:
    for searchable, told in (
        ([1, 4], r"space.layers has 4; the model has layers 0 to 3\."),
        ([-1], "space.layers has -1; the model"),
        ([], r"space.layers=\[\] is not allowed; give one or more layers, each once\."),
        ([2, 2], r"space.layers=\[2, 2\] is not allowed; give"),
    ):
        with pytest.raises(ValueError, match=told):
            space("joint", [2], searchable=searchable)
    with pytest.raises(ValueError, match=r"space.layers has no effect in chunk_size; give model.routed_layers=\[1\]\."):
        space("chunk_size", [2], searchable=[1])
    with pytest.raises(ValueError, match=r"model.routed_layers has 4; the model has layers 0 to 3"):
        space("chunk_size", [2], routed_layers=[4])
