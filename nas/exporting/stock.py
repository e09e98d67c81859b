"""Models of runs as models of a stock family of `transformers`: its config.json, and weights by its names."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from nas.pretrained.description import ACTIVATIONS, FULL, SLIDING
from nas.pretrained.families import FAMILIES, is_norm, names_of_weights
from nas.pretrained.stock import TYPES, family_of
from nas.search_spaces import backbone
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.backbone import Backbone, Rope

CLASSES = {
    "llama": "LlamaForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "olmo3": "Olmo3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
"""Class of the language model of each family."""
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Fields of config.json with the ids of special tokens."""


def config_of(a: Architecture) -> dict[str, Any]:
    """Return the config.json of a model; see `family_of` for errors."""
    family, b = family_of(a), a.backbone
    assert b is not None
    slides = backbone.SLIDING in a.mixers
    activation = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}[b.activation]
    config: dict[str, Any] = {
        "architectures": [CLASSES[family]],
        "model_type": family,
        "vocab_size": a.vocab_size,
        "hidden_size": a.width,
        "intermediate_size": a.mlp_width,
        "num_hidden_layers": len(a.layers),
        "num_attention_heads": a.softmax_heads,
        "num_key_value_heads": b.key_value_heads,
        "head_dim": a.key_dim,
        "max_position_embeddings": b.context,
        "rms_norm_eps": b.norm_eps,
        "hidden_activation" if family == "gemma3_text" else "hidden_act": activation,
        "tie_word_embeddings": a.tie_embeddings,
        **_ropes(a, b, family),
    }
    if family != b.family:  # not the defaults of the other family
        config |= dict.fromkeys(SPECIAL_TOKENS)
    if FAMILIES[family].qkv_bias is None:
        config["attention_bias"] = b.qkv_bias
    if family not in ("llama", "olmo2"):
        config["layer_types"] = [TYPES[mixer] for mixer in a.mixers]
        config["sliding_window"] = a.window if slides else None
    if FAMILIES[family].slides_by_flag:
        config["use_sliding_window"] = slides
    if FAMILIES[family].positions_by_layer:
        config["no_rope_layers"] = [1] * len(a.layers)
    if b.score_scale is not None:
        scalar = b.score_scale**-2
        config["query_pre_attn_scalar"] = round(scalar) if abs(scalar - round(scalar)) < 1e-6 * scalar else scalar
    return config


def _ropes(a: Architecture, b: Backbone, family: str) -> dict[str, Any]:
    """Return the fields of rotary positions, in the older form, which all versions of `transformers` read."""
    by_kind = dict(zip(a.mixers, b.ropes, strict=True))
    full = by_kind.get(backbone.FULL, b.ropes[0])
    fields: dict[str, Any] = {"rope_theta": full.base}
    if full.scaling != "default":
        fields["rope_scaling"] = _scaling(full)
    if family == "olmo3" and full.base != FAMILIES[family].rope_bases[0]:
        # transformers 5.24 reads rope_theta for full layers only
        own = {"rope_theta": full.base, **fields.get("rope_scaling", {"rope_type": "default"})}
        return {"rope_parameters": {FULL: own, SLIDING: {"rope_theta": full.base, "rope_type": "default"}}}
    if family == "gemma3_text":
        fields["rope_local_base_freq"] = by_kind.get(backbone.SLIDING, Rope(10000.0)).base
    return fields


def _scaling(rope: Rope) -> dict[str, Any]:
    made: dict[str, Any] = {"rope_type": rope.scaling, "factor": rope.factor}
    if rope.original_length is not None:
        made["original_max_position_embeddings"] = rope.original_length
    if rope.scaling == "llama3":
        made |= {"low_freq_factor": rope.low_frequency, "high_freq_factor": rope.high_frequency}
    if rope.scaling == "yarn":
        names = ("beta_slow", "beta_fast", "attention_factor", "truncate")
        made |= {name: value for name, value in asdict(rope).items() if name in names}
    return made


def weights_of(a: Architecture, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a model by the names of its family; see `family_of` for errors."""
    family, b = family_of(a), a.backbone
    assert b is not None
    own = FAMILIES[family]
    names = names_of_weights(
        len(a.layers), b.norms, b.qk_norm is not None, b.qkv_bias, b.out_bias, a.tie_embeddings
    )  # fmt: skip
    made: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        for name, part in zip(theirs, weights[ours].chunk(len(theirs)), strict=True):
            made[name] = (part - own.norm_offset if is_norm(name) else part).contiguous()
    return made
