import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.backbone import Backbone, Rope, attention_weights
from nas.search_spaces.config import as_original
from tests.nas.architectures import small

ROPE = Rope(10000.0)
GEMMA = Backbone("gemma3_text", ("window", "softmax"), (ROPE, Rope(1e6, "linear", 8.0)), 2, 64, "both", "head")


def pretrained(backbone: Backbone = GEMMA, **changed: Any) -> Architecture:
    sizes = {"linear_heads": 4, "softmax_heads": 4, "key_dim": 4, "value_dim": 4, "routing_heads": 2, "conv_size": 1}
    return small("window", "softmax", **sizes | changed, backbone=backbone)


def test_an_architecture_with_a_backbone_survives_json() -> None:
    architecture = pretrained()
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert hash(architecture) == hash(Architecture.from_dict(json.loads(architecture.to_json())))
    assert "backbone" not in small().to_dict()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": replace(GEMMA, mixers=("softmax",), ropes=(ROPE,))}, "layers=2 differs from the 1 layers"),
        ({"linear_heads": 2}, "softmax_heads=4, linear_heads=2, key_dim=4 and value_dim=4 do not fit"),
        ({"routing_heads": 4}, "routing_heads=4 must divide the 2 heads"),
        ({"rope_base": 10000.0}, "rope_base=10000.0 is not allowed with a pretrained model"),
        ({"log_n": True}, "log_n=True is not allowed with a pretrained model"),
    ],
)
def test_sizes_must_fit_the_pretrained_model(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pretrained(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"norms": "none"}, "norms='none' is unknown; choose from: pre, post, both"),
        ({"qk_norm": "all"}, "qk_norm='all' is unknown"),
        ({"mixers": ["linear", "softmax"]}, "mixers='linear' is unknown"),
        ({"ropes": []}, "mixers has 2 layers and ropes 0"),
        ({"ropes": [{"base": 0}, {"base": 1}]}, "base=0 is not allowed"),
        ({"ropes": [{"base": 1, "scaling": "yarn"}] * 2}, "original_length=None is not allowed"),
        ({"ropes": [{"theta": 1}] * 2}, "is not an entry of ropes"),
        ({"mixers": "softmax"}, "must be lists"),
        ({"context": 0}, "context=0 is not allowed"),
        ({"qkv_bias": 1}, "qkv_bias=1 is not allowed; it must be true or false"),
        ({"other": 1}, "is not a backbone, which needs context, family"),
    ],
)
def test_a_damaged_backbone_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backbone.from_dict(asdict(GEMMA) | changed)


def test_only_pretrained_models_have_more_tokens_than_the_data() -> None:
    assert pretrained().reads(7)
    assert not pretrained().reads(12)
    assert not small().reads(7)


def test_softmax_in_a_sliding_layer_is_its_window() -> None:
    softmax, linear = Layer("softmax", 4), Layer("linear", 4)
    assert as_original(softmax, 0, GEMMA).mixer == "window"
    assert as_original(softmax, 1, GEMMA) == as_original(softmax, 0, None) == softmax
    assert as_original(linear, 0, GEMMA) == linear


def test_weights_of_attention_are_counted_with_biases_and_norms() -> None:
    plain = replace(GEMMA, qk_norm=None)
    assert attention_weights(16, 4, 8, plain) == 2 * 16 * (32 + 16)
    biased = replace(plain, qkv_bias=True, out_bias=True)
    assert attention_weights(16, 4, 8, biased) - attention_weights(16, 4, 8, plain) == 32 + 2 * 16 + 16
    assert attention_weights(16, 4, 8, replace(plain, qk_norm="layer")) - attention_weights(16, 4, 8, plain) == 48
