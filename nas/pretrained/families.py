"""The families of pretrained models: what their config.json says, and the names of their weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.search_spaces.backbone import NormPlaces, QKNorm


@dataclass(frozen=True)
class Family:
    """A family of pretrained models.

    Attributes:
        name: value of the field model_type in config.json.
        shown: name in messages.
        norms: where its norms are.
        qk_norm: see `nas.search_spaces.backbone.Backbone`.
        qkv_bias, out_bias: whether the projections have biases; None for the field attention_bias.
        norm_offset: number that is added to the weights of norms.
        scaled_embedding: whether embedded tokens are multiplied by the square root of the width.
        rope_bases: default base of the rotary positions of full and of sliding layers.
        scales_sliding: whether the scaling of positions also applies to sliding layers.
        slides_by_flag: whether sliding layers need the field use_sliding_window.
        positions_by_layer: whether the field no_rope_layers says which layers have rotary positions.
        pattern: number of layers after which sliding layers are interrupted by a full one, if layer_types is missing.
        defaults: values of fields that a config.json may leave out.
    """

    name: str
    shown: str
    norms: NormPlaces = "pre"
    qk_norm: QKNorm | None = None
    qkv_bias: bool | None = None
    out_bias: bool | None = None
    norm_offset: float = 0.0
    scaled_embedding: bool = False
    rope_bases: tuple[float, float] = (10000.0, 10000.0)
    scales_sliding: bool = True
    slides_by_flag: bool = False
    positions_by_layer: bool = False
    pattern: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


ALL = (
    Family("llama", "Llama"),
    Family(
        "smollm3",
        "SmolLM3 with positions in all layers",
        rope_bases=(2000000.0, 2000000.0),
        slides_by_flag=True,
        positions_by_layer=True,
        defaults={"tie_word_embeddings": True},
    ),
    Family("qwen2", "Qwen2", qkv_bias=True, out_bias=False, slides_by_flag=True, defaults={"max_window_layers": 28}),
    Family("qwen3", "Qwen3", qk_norm="head", slides_by_flag=True, defaults={"max_window_layers": 28, "head_dim": 128}),
    Family("olmo2", "OLMo 2", norms="post", qk_norm="layer", defaults={"rms_norm_eps": 1e-5}),
    Family(
        "olmo3",
        "OLMo 3",
        norms="post",
        qk_norm="layer",
        rope_bases=(500000.0, 500000.0),
        scales_sliding=False,
        pattern=4,
        defaults={"rms_norm_eps": 1e-5, "sliding_window": 4096},
    ),
    Family(
        "gemma3_text",
        "Gemma 3 (text)",
        norms="both",
        qk_norm="head",
        norm_offset=1.0,
        scaled_embedding=True,
        rope_bases=(1000000.0, 10000.0),
        scales_sliding=False,
        pattern=6,
        defaults={
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
    ),
)
FAMILIES = {family.name: family for family in ALL}
"""The families by their names."""
BODY = "model"
"""First part of the names of all weights but the head's."""
LM_HEAD = "lm_head.weight"
"""Name of the head's weight."""
_NORMS = {
    "pre": {"mixer_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "post": {"mixer_post_norm": "post_attention_layernorm", "mlp_post_norm": "post_feedforward_layernorm"},
    "both": {
        "mixer_norm": "input_layernorm",
        "mixer_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    },
}
"""Names of the norms of a layer: ours, and those of the library `transformers`."""


def shown_families() -> str:
    """Return the names of all families with their model_type, as text for messages."""
    return ", ".join(f"{family.shown} ({family.name})" for family in ALL)


def is_norm(name: str) -> bool:
    """Return whether a weight of the library `transformers` belongs to a norm."""
    return "norm." in name


def names_of_weights(
    layers: int, norms: NormPlaces, qk_norm: bool, qkv_bias: bool, out_bias: bool, tied: bool
) -> dict[str, tuple[str, ...]]:
    """Return the names under which `transformers` stores the weights of a model, by our names.

    Several of its weights are one of ours, row by row.
    """
    found: dict[str, tuple[str, ...]] = {
        "embedding.weight": (f"{BODY}.embed_tokens.weight",),
        "norm.weight": (f"{BODY}.norm.weight",),
    }
    if not tied:
        found["head.weight"] = (LM_HEAD,)
    for index in range(layers):
        ours, theirs = f"blocks.{index}", f"{BODY}.layers.{index}"
        for own, name in _NORMS[norms].items():
            found[f"{ours}.{own}.weight"] = (f"{theirs}.{name}.weight",)
        for own, name, bias in (
            ("q", "q", qkv_bias),
            ("k", "k", qkv_bias),
            ("v", "v", qkv_bias),
            ("out", "o", out_bias),
        ):
            for kind in ("weight", "bias") if bias else ("weight",):
                found[f"{ours}.mixer.{own}.{kind}"] = (f"{theirs}.self_attn.{name}_proj.{kind}",)
        if qk_norm:
            for own in ("q_norm", "k_norm"):
                found[f"{ours}.mixer.{own}.weight"] = (f"{theirs}.self_attn.{own}.weight",)
        gate, up = (f"{theirs}.mlp.{name}_proj.weight" for name in ("gate", "up"))
        found[f"{ours}.mlp.gate_and_up.weight"] = (gate, up)
        found[f"{ours}.mlp.down.weight"] = (f"{theirs}.mlp.down_proj.weight",)
    return found
