"""Hand-designed hybrids by name."""

from typing import Any

import pytest

from nas.search_spaces import baselines
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.config import ModelConfig
from tests.search_spaces.sizes import SIZES


def built(name: str, given_share: float = 0.3, **changed: Any) -> Architecture | None:
    return baselines.build(name, ModelConfig(**(SIZES | changed)), 11, given_share)


def softmax_layers(name: str, layers: int) -> list[int]:
    """Return whether each layer is softmax; other layers must be linear."""
    found = built(name, layers=layers)
    assert found is not None
    assert set(found.mixers) <= {"softmax", "linear"}
    return [layer for layer, mixer in enumerate(found.mixers) if mixer == "softmax"]


def test_every_name_is_an_architecture_of_the_model() -> None:
    for name in baselines.names():
        found = built(name, layers=8)
        assert found is not None
        assert (found.vocab_size, found.width, len(found.mixers)) == (11, 8, 8)


@pytest.mark.parametrize("mixer", ["softmax", "linear", "token_hybrid"])
def test_the_same_mixer_in_every_layer(mixer: str) -> None:
    found = built(mixer)
    assert found is not None
    assert found.mixers == (mixer,) * 4
    assert found.given_routing is None


def test_interleaved_has_softmax_after_a_fixed_number_of_linear_layers() -> None:
    assert softmax_layers("interleaved_1_1", 5) == [1, 3]
    assert softmax_layers("interleaved_3_1", 4) == [3]
    assert softmax_layers("interleaved_3_1", 12) == [3, 7, 11]
    assert softmax_layers("interleaved_7_1", 16) == [7, 15]


@pytest.mark.parametrize(("name", "layers"), [("interleaved_3_1", 3), ("interleaved_7_1", 7)])
def test_too_few_layers_to_interleave_are_refused(name: str, layers: int) -> None:
    with pytest.raises(ValueError, match=f"architecture={name} .* model.layers={layers}; give at least {layers + 1}"):
        built(name, layers=layers)


def test_nats_l_routes_in_the_published_layers() -> None:
    found = built("nats_l", layers=21)
    assert found is not None
    assert found.routed_layers == (3, 7, 11, 15, 19, 20)
    assert set(found.mixers) == {"token_hybrid", "linear"}


def test_softmax_rope_has_the_model_s_base_or_a_default() -> None:
    for given, base in ((None, 10000), (500.0, 500)):
        found = built("softmax_rope", rope_base=given)
        assert found is not None
        assert found.mixers == ("softmax",) * 4
        assert found.rope_base == base
    scaled = built("softmax_log_n")
    assert scaled is not None
    assert (scaled.log_n, scaled.rope_base) == (True, None)
    plain = built("softmax")
    assert plain is not None
    assert plain.rope_base is None


ROUTED = [name for name, baseline in baselines.BASELINES.items() if baseline.as_searched]


@pytest.mark.parametrize("name", ROUTED)
def test_routers_are_in_the_same_layers_as_in_a_search(name: str) -> None:
    found = built(name, routed_layers=[1, 3])
    assert found is not None
    assert found.routed_layers == (1, 3)
    assert found.mixers.count("linear") == 2
    with pytest.raises(ValueError, match=r"model.routed_layers has 4; the model has layers 0 to 3"):
        built(name, routed_layers=[4])


@pytest.mark.parametrize("routing", ["random", "strided"])
def test_a_given_routing_has_its_share_for_any_content(routing: str) -> None:
    found = built(f"{routing}_routing", given_share=0.2)
    assert found is not None
    assert found.mixers == ("token_hybrid",) * 4
    assert (found.given_routing, found.given_share) == (routing, 0.2)


def test_a_pattern_may_be_given_by_the_mixer_of_each_layer() -> None:
    found = built("linear-softmax-token_hybrid-linear")
    assert found is not None
    assert found.mixers == ("linear", "softmax", "token_hybrid", "linear")
    assert found.chunk_sizes == (4,) * 4


def test_a_pattern_of_another_length_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"architecture=linear-softmax has 2 layers, but model.layers=4; give equally many"
    ):
        built("linear-softmax")


@pytest.mark.parametrize(
    "name", ["transformer", "linear-hyena-linear-linear", "", "outputs/search/run/architecture.json"]
)
def test_no_hybrid_has_another_name(name: str) -> None:
    assert built(name) is None
