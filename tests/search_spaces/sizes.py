"""Sizes of a small model, and layer-wise spaces over it."""

import json
from dataclasses import asdict
from typing import Any

from nas import search_spaces
from nas.search_spaces.backbone import Backbone, Rope
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space, option_name

SIZES: dict[str, Any] = {
    "name": "test",
    "layers": 4,
    "width": 8,
    "linear_heads": 2,
    "key_dim": 4,
    "value_dim": 4,
    "softmax_heads": 2,
    "routing_heads": 2,
    "chunk_size": 4,
    "mlp_width": 8,
    "conv_size": 4,
    "tie_embeddings": False,
}


OPERATIONS = {"layer_hybrid": ["softmax", "linear", "token_hybrid"], "chunk_size": ["token_hybrid"]}


OPERATIONS["joint"] = OPERATIONS["layer_hybrid"]


def space(
    name: str,
    chunk_sizes: list[int] | None = None,
    operations: Any = None,
    searchable: list[int] | None = None,
    **changed: Any,
) -> Space:
    config = SpaceConfig(name, "full", operations or OPERATIONS[name], chunk_sizes, tiny_layers=2, layers=searchable)
    return search_spaces.build(config, ModelConfig(**(SIZES | changed)), vocab_size=11)


def names(space: Space) -> list[list[str]]:
    return [list(map(option_name, options)) for options in space.options]


def gemma() -> dict[str, Any]:
    """Options of a pretrained model of four layers, of which the second is full and the others are sliding."""
    mixers = ("window", "softmax", "window", "window")
    backbone = Backbone("gemma3_text", mixers, (Rope(10000.0),) * 4, key_value_heads=2, context=64)
    return {"backbone": json.dumps(asdict(backbone)), "path": "gemma", "vocab_size": 20, "window": 8}
