from pathlib import Path
from typing import Any

import pytest

from nas.errors import UserError
from nas.pretrained.description import describe
from nas.search_spaces.backbone import Rope
from tests.nas.pretrained.written import GEMMA, write_config

SCALED = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "mamba"}, r"family mamba .* known families are Llama \(llama\), .*Gemma 3 \(text\)"),
        ({"model_type": None}, "family unknown"),
        ({"num_hidden_layers": None}, "has no num_hidden_layers"),
        ({"num_attention_heads": "4"}, "num_attention_heads='4'; it must be an integer"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3; it must divide num_attention_heads=4"),
        ({"head_dim": 7}, "head_dim=7; rotary positions need heads of an even size, and it is 7"),
        ({"head_dim": None, "hidden_size": 20}, "num_attention_heads=4; rotary .* even size, and it is 5"),
        ({"hidden_act": "relu"}, "hidden_act='relu'; it must be one of silu"),
        ({"mlp_bias": True}, "mlp_bias=True; models with it are not supported"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
        ({"quantization_config": {"bits": 4}}, "save the model in bfloat16 or float32"),
        ({"layer_types": ["full_attention"]}, "layer_types=.*must have 2 entries"),
        ({"rope_scaling": {"type": "longrope"}}, r"rope_scaling, has type='longrope'; it must be one of default"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5"),
        ({"model_type": "smollm3"}, "no_rope_layers=None; layers without .* are not supported; give .* it is 2 ones"),
        ({"model_type": "smollm3", "no_rope_layers": [1, 0]}, r"no_rope_layers=\[1, 0\]; layers without"),
        ({"model_type": "qwen2", "layer_types": ["sliding_attention"] * 2}, "use_sliding_window=None; it must be true"),
    ],
)
def test_what_cannot_be_used_is_named(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        describe(write_config(tmp_path, **fields))


def test_sizes_are_those_of_the_config(tmp_path: Path) -> None:
    found = describe(write_config(tmp_path, head_dim=None))
    assert found.sizes["key_dim"] == found.sizes["value_dim"] == 4
    assert (found.sizes["layers"], found.sizes["width"], found.sizes["mlp_width"]) == (2, 16, 24)
    assert (found.sizes["softmax_heads"], found.backbone.key_value_heads, found.backbone.context) == (4, 2, 64)
    assert found.window is None
    assert found.backbone.mixers == ("softmax", "softmax")


def test_sliding_layers_are_windows_with_positions_of_their_own(tmp_path: Path) -> None:
    folder = write_config(tmp_path, **GEMMA, rope_scaling={"rope_type": "linear", "factor": 8.0})
    found = describe(folder)
    assert (found.window, found.backbone.mixers) == (9, ("window", "softmax"))
    assert found.backbone.ropes == (Rope(10000.0), Rope(1000000.0, "linear", 8.0))
    assert found.backbone.score_scale == pytest.approx(10**-0.5)
    assert found.backbone.embedding_scale == 4
    assert found.sizes["tie_embeddings"]


def test_layers_of_old_files_follow_from_a_pattern(tmp_path: Path) -> None:
    gemma = write_config(tmp_path, **GEMMA | {"layer_types": None}, num_hidden_layers=7)
    assert describe(gemma).backbone.mixers == ("window",) * 5 + ("softmax", "window")
    qwen = {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 8}
    assert describe(write_config(tmp_path, model_type="qwen2", num_hidden_layers=4, **qwen)).backbone.mixers == (
        "softmax", "softmax", "window", "window",
    )  # fmt: skip
    assert describe(write_config(tmp_path, model_type="qwen2", **qwen | {"use_sliding_window": False})).window is None


@pytest.mark.parametrize("field", ["rope_parameters", "rope_scaling"])
def test_scalings_of_old_and_new_files_are_read(field: str, tmp_path: Path) -> None:
    (rope, _) = describe(write_config(tmp_path, rope_theta=500.0, **{field: SCALED})).backbone.ropes
    assert (rope.base, rope.scaling, rope.factor, rope.original_length) == (500.0, "yarn", 4.0, 16)
    assert rope.attention_factor == pytest.approx(1.1386, abs=1e-4)


def test_only_full_layers_of_olmo_3_are_scaled(tmp_path: Path) -> None:
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
    found = describe(write_config(tmp_path, model_type="olmo3", **layers, rope_scaling=SCALED))
    assert [rope.scaling for rope in found.backbone.ropes] == ["default", "yarn"]
