"""Options of model sizes, and the architecture that they define."""

import pytest

from nas.search_spaces.architecture import Layer
from nas.search_spaces.config import ModelConfig
from tests.search_spaces.sizes import SIZES


def test_sizes_and_layers_become_an_architecture() -> None:
    layers = [Layer("softmax", 4), Layer("token_hybrid", 8)]
    made = ModelConfig(**SIZES).architecture(layers, vocab_size=11)
    assert made.mixers == ("softmax", "token_hybrid")
    assert made.chunk_sizes == (4, 8)
    for size in ("width", "linear_heads", "key_dim", "value_dim", "softmax_heads", "routing_heads", "mlp_width"):
        assert getattr(made, size) == SIZES[size], size
    assert made.vocab_size == 11


def test_some_sizes_may_be_changed() -> None:
    assert ModelConfig(**SIZES).architecture([Layer("linear", 4)], 11, mlp_width=20).mlp_width == 20


def test_sizes_that_do_not_fit_are_named_as_options_of_the_model() -> None:
    with pytest.raises(ValueError, match=r"model\.routing_heads=3 does not divide linear_heads=2"):
        ModelConfig(**(SIZES | {"routing_heads": 3})).architecture([Layer("linear", 4)], 11)
