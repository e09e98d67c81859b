"""Architectures: frozen values, their JSON form, and the errors of wrong fields."""

import dataclasses
import json
from typing import Any

import pytest

from nas.search_spaces.architecture import Architecture
from tests.nas.architectures import MIXERS, small


def test_an_architecture_is_a_frozen_hashable_value() -> None:
    assert small() == small()
    assert len({small(), small(), small("linear"), small(chunk_size=8)}) == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        small().width = 5  # type: ignore[misc]


def test_json_and_back() -> None:
    for given in (
        small(),
        small("linear"),
        small("softmax", "softmax", conv_size=2, tie_embeddings=True, rope_base=500.0),
        small("linear", negative_eigenvalues=True),
    ):
        back = Architecture.from_json(given.to_json())
        assert back == given
        assert hash(back) == hash(given)
        assert Architecture.from_dict(json.loads(given.to_json())) == given


def test_fields_with_a_default_may_be_omitted() -> None:
    given = small().to_dict()
    del given["conv_size"], given["tie_embeddings"]
    assert Architecture.from_dict(given) == small()


def test_files_of_earlier_versions_have_two_lists() -> None:
    given = small("linear", "token_hybrid", chunk_sizes=(4, 8)).to_dict()
    del given["layers"]
    earlier = given | {"mixers": ["linear", "token_hybrid"], "chunk_sizes": [4, 8]}
    assert Architecture.from_dict(earlier) == small("linear", "token_hybrid", chunk_sizes=(4, 8))
    for wrong in ({"chunk_sizes": [4]}, {"mixers": "linear"}):
        with pytest.raises(ValueError, match="must be lists of the same length"):
            Architecture.from_dict(earlier | wrong)


def test_routed_layers_are_those_with_a_router() -> None:
    assert small("token_hybrid", "linear", "token_hybrid", "softmax").routed_layers == (0, 2)
    assert small("linear").routed_layers == ()


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_same_mixer_in_every_layer_at_the_same_sizes(mixer: Any) -> None:
    assert small().with_mixer(mixer) == small(mixer, mixer, mixer)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"layers": [{"mixer": "linear", "chunk_size": 0}]}, "chunk_sizes has 0"),
        ({"layers": [{"mixer": "linear", "chunk_size": 4, "mlp_width": 0}]}, "mlp_width=0"),
        ({"layers": [{"mixer": "linear", "chunk_size": 4, "depth": 2}]}, "layers has {'mixer'"),
        ({"layers": [{"mixer": "linear"}]}, "layers has {'mixer': 'linear'}"),
        ({"layers": ["linear"]}, "layers has 'linear'"),
        ({"window": 0}, "window=0"),
        ({"given_routing": "random", "given_share": 1.5}, "given_share=1.5"),
        ({"given_routing": "random", "given_share": "0.5"}, "given_share='0.5'"),
        ({"given_routing": "cyclic", "given_share": 0.5}, "given_routing='cyclic'"),
        ({"given_routing": "strided"}, "given_routing='strided' and given_share=None"),
        ({"given_share": 0.5}, "given_routing=None and given_share=0.5"),
        ({"width": -3}, "width=-3"),
        ({"linear_heads": 0}, "linear_heads=0"),
        ({"vocab_size": True}, "vocab_size=True"),
        ({"key_dim": 4.0}, "key_dim=4.0"),
        ({"mlp_width": "10"}, "mlp_width='10'"),
        ({"conv_size": None}, "conv_size=None"),
        ({"tie_embeddings": 1}, "tie_embeddings=1"),
        ({"negative_eigenvalues": 2}, "negative_eigenvalues=2"),
        ({"router_features": "max+min"}, "router_features='max+min' is unknown; give mean, max, last, or different"),
        ({"router_features": "max+max"}, "router_features='max+max'"),
        ({"router_features": ["max"]}, "router_features=['max']"),
        ({"rope_base": 0}, "rope_base=0"),
        ({"rope_base": "10000"}, "rope_base='10000'"),
        (
            {"rope_base": 10000, "key_dim": 6},
            "rope_base=10000 rotates pairs of channels, but the keys of a softmax head have 3",
        ),
        ({"softmax_heads": 3}, "softmax_heads=3"),
        ({"softmax_heads": 1}, "softmax_heads=1"),
        ({"routing_heads": 3}, "routing_heads=3"),
        ({"routing_heads": 4}, "routing_heads=4"),
        ({"key_dim": 5}, "key_dim=5"),
        ({"value_dim": 7}, "value_dim=7"),
        ({"layers": []}, "layers=()"),
        ({"layers": "softmax"}, "layers='softmax'"),
        ({"layers": [{"mixer": "hyena", "chunk_size": 4}]}, "'hyena'"),
        ({"layers": [{"mixer": None, "chunk_size": 4}]}, "mixers has None"),
    ],
    ids=str,
)
def test_an_error_names_the_wrong_field_and_allowed_values(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as caught:
        Architecture.from_dict(small().to_dict() | changed)
    message = str(caught.value)
    assert named in message
    assert any(advice in message for advice in ("; it must be", "; choose", "; give", "; a layer has"))


def test_the_error_of_an_unknown_mixer_lists_the_known_mixers() -> None:
    with pytest.raises(ValueError, match="softmax, linear, window, token_hybrid"):
        small("hyena")


def test_missing_and_unknown_fields_are_named() -> None:
    given = small().to_dict()
    del given["width"], given["layers"]
    with pytest.raises(ValueError, match="missing fields layers, width"):
        Architecture.from_dict(given)
    with pytest.raises(ValueError, match="unknown fields depth"):
        Architecture.from_dict(small().to_dict() | {"depth": 3})


@pytest.mark.parametrize("text", ["", "{", "nonsense", "'a'", "{'width': 3}"])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        Architecture.from_json(text)


@pytest.mark.parametrize("text", ["[]", "3", '"width"', "null"])
def test_json_without_an_architecture_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a JSON object"):
        Architecture.from_json(text)
