"""The sizes and the structure of a pretrained model, from its config.json. Nothing of the folder is executed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from nas.errors import UserError
from nas.pretrained.families import FAMILIES, Family, shown_families
from nas.pretrained.fields import Fields, read_config
from nas.search_spaces import backbone
from nas.search_spaces.backbone import SCALINGS, Activation, Backbone, Rope, Scaling

ACTIVATIONS: dict[str, Activation] = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
SLIDING, FULL = "sliding_attention", "full_attention"
OPERATIONS = {SLIDING: backbone.SLIDING, FULL: backbone.FULL}
"""Our operation of each type of layer."""
PLAIN = ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention", "mlp_bias", "clip_qkv")
"""Fields of computations that models here do not have: they must be null or false."""


@dataclass(frozen=True)
class Description:
    """What a folder says of its model.

    Attributes:
        sizes: values of options of the model, by name, which its weights fix.
        window: tokens that its sliding layers attend to; None without sliding layers.
        backbone: its structure.
    """

    sizes: dict[str, Any]
    window: int | None
    backbone: Backbone


def describe(folder: Path) -> Description:
    """Return the description of the pretrained model in a folder.

    Raises:
        UserError: the folder, its family, or one of its fields cannot be used; the message says what can.
    """
    fields = read_config(folder)
    name = fields.text("model_type", "")
    if name not in FAMILIES:
        raise UserError(
            f"model.path={folder} has a model of the family {name or 'unknown'} (model_type in config.json); the known "
            f"families are {shown_families()}."
        )
    family = FAMILIES[name]
    fields = fields.with_defaults(family.defaults)
    _check_plain(fields)
    layers, width = fields.count("num_hidden_layers"), fields.count("hidden_size")
    heads, groups, key_dim = _heads(fields, width)
    mixers, window = _mixers(fields, family, layers)
    bias = fields.flag("attention_bias")
    scalar = fields.values.get("query_pre_attn_scalar")
    _check_positions(fields, family, layers)
    structure = Backbone(
        family=name,
        mixers=tuple(OPERATIONS[kind] for kind in mixers),
        ropes=tuple(_rope(fields, family, kind) for kind in mixers),
        key_value_heads=groups,
        context=fields.count("max_position_embeddings", 2048),
        norms=family.norms,
        qk_norm=family.qk_norm,
        qkv_bias=bias if family.qkv_bias is None else family.qkv_bias,
        out_bias=bias if family.out_bias is None else family.out_bias,
        activation=_activation(fields),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        score_scale=None if scalar is None else fields.number("query_pre_attn_scalar", 1) ** -0.5,
        embedding_scale=math.sqrt(width) if family.scaled_embedding else 1.0,
    )
    sizes = {
        "layers": layers,
        "width": width,
        "linear_heads": heads,
        "softmax_heads": heads,
        "key_dim": key_dim,
        "value_dim": key_dim,
        "mlp_width": fields.count("intermediate_size"),
        "tie_embeddings": fields.flag("tie_word_embeddings"),
        "vocab_size": fields.count("vocab_size"),
    }
    return Description(sizes, window, structure)


def _check_plain(fields: Fields) -> None:
    for name in PLAIN:
        if fields.values.get(name) not in (None, False):
            raise fields.refuse(name, "models with it are not supported; give a model where it is null or false")
    if "quantization_config" in fields.values:
        raise fields.refuse("quantization_config", "save the model in bfloat16 or float32 first")


def _check_positions(fields: Fields, family: Family, layers: int) -> None:
    """Raise a UserError unless every layer has rotary positions."""
    if family.positions_by_layer and fields.values.get("no_rope_layers") != [1] * layers:
        raise fields.refuse(
            "no_rope_layers",
            f"layers without rotary positions are not supported; give a model where it is {layers} ones",
        )


def _heads(fields: Fields, width: int) -> tuple[int, int, int]:
    """Return the number of heads of queries, that of keys and values, and the size of a head."""
    heads = fields.count("num_attention_heads")
    groups = fields.count("num_key_value_heads", heads)
    key_dim = fields.count("head_dim", width // heads or None)
    if heads % groups:
        raise fields.refuse("num_key_value_heads", f"it must divide num_attention_heads={heads}")
    if key_dim % 2:
        name = "head_dim" if "head_dim" in fields.values else "num_attention_heads"
        raise fields.refuse(name, f"rotary positions need heads of an even size, and it is {key_dim}")
    return heads, groups, key_dim


def _activation(fields: Fields) -> Activation:
    name = "hidden_activation" if "hidden_activation" in fields.values else "hidden_act"
    given = fields.text(name, "silu")
    if given not in ACTIVATIONS:
        raise fields.refuse(name, f"it must be one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[given]


def _mixers(fields: Fields, family: Family, layers: int) -> tuple[list[str], int | None]:
    """Return the type of each layer, and the window of sliding layers."""
    slides = fields.flag("use_sliding_window") if family.slides_by_flag else True
    kinds = fields.values.get("layer_types")
    if kinds is None:
        pattern, from_layer = fields.count("sliding_window_pattern", family.pattern or 1), layers
        if family.slides_by_flag and slides:
            from_layer = fields.count("max_window_layers", layers)
        kinds = [
            SLIDING if index >= from_layer or (family.pattern is not None and (index + 1) % pattern) else FULL
            for index in range(layers)
        ]
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= OPERATIONS.keys():
        raise fields.refuse("layer_types", f"it must have {layers} entries of {', '.join(OPERATIONS)}")
    if SLIDING not in kinds:
        return kinds, None
    if not slides:
        raise fields.refuse("use_sliding_window", f"it must be true for layers of the type {SLIDING}")
    return kinds, fields.count("sliding_window")


def _rope(fields: Fields, family: Family, kind: str) -> Rope:
    """Return the rotary positions of a type of layer, of a file of any version of transformers."""
    base = family.rope_bases[0 if kind == FULL else 1]
    by_layer = family.rope_bases[0] != family.rope_bases[1]
    field = "rope_local_base_freq" if by_layer and kind == SLIDING else "rope_theta"
    base = fields.number(field, base)
    given = fields.group("rope_parameters")
    if given is not None and {SLIDING, FULL} & given.values.keys():
        given = given.group(kind)
    elif given is None and (kind == FULL or family.scales_sliding):
        given = fields.group("rope_scaling")
    if given is None:
        return Rope(base)
    scaling = given.text("rope_type", given.text("type", "default"))
    if scaling not in SCALINGS:
        raise given.refuse(
            "rope_type" if "rope_type" in given.values else "type", f"it must be one of {', '.join(SCALINGS)}"
        )
    if given.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0)) != 1:
        raise given.refuse("partial_rotary_factor", "only positions that rotate all channels are supported")
    return _scaled(fields, given, given.number("rope_theta", base), cast("Scaling", scaling))


def _scaled(fields: Fields, given: Fields, base: float, scaling: Scaling) -> Rope:
    factor = given.number("factor", 1.0)
    if scaling not in ("llama3", "yarn"):
        return Rope(base, scaling, factor)
    original = given.count("original_max_position_embeddings", fields.count("max_position_embeddings", 2048))
    if scaling == "llama3":
        low, high = given.number("low_freq_factor", 1.0), given.number("high_freq_factor", 4.0)
        return Rope(base, "llama3", factor, original, low_frequency=low, high_frequency=high)
    return Rope(
        base,
        "yarn",
        factor,
        original,
        beta_slow=given.number("beta_slow", 1.0),
        beta_fast=given.number("beta_fast", 32.0),
        attention_factor=given.number("attention_factor", _yarn_factor(given, factor)),
        truncate=given.flag("truncate", True),
    )


def _yarn_factor(given: Fields, factor: float) -> float:
    """Return yarn's factor on queries and keys: 0.1 ln(factor) + 1, or the ratio of two (Peng et al. 2023)."""

    def by(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if {"mscale", "mscale_all_dim"} <= given.values.keys():
        return by(given.number("mscale", 1)) / by(given.number("mscale_all_dim", 1))
    return by(1.0)
