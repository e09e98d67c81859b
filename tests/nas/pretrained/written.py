"""Folders of small pretrained models in the format of transformers, made without it."""

import json
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor

from nas.config import CONF, register
from nas.models.language_model import LanguageModel
from nas.pretrained.description import describe
from nas.pretrained.families import names_of_weights
from nas.pretrained.options import fill
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.config import ModelConfig

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
"""Fields of the config.json of a small Llama."""
GEMMA: dict[str, Any] = {
    "model_type": "gemma3_text",
    "sliding_window": 9,
    "layer_types": ["sliding_attention", "full_attention"],
    "query_pre_attn_scalar": 10,
}
"""The fields by which a small Gemma differs from it."""


def write_config(folder: Path, **fields: Any) -> Path:
    """Write the config.json of a small model; a field of None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {name: value for name, value in (CONFIG | fields).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def architecture_of(folder: Path, *mixers: str, **changed: Any) -> Architecture:
    """The architecture of the model in a folder, with its own mixers or others."""
    found = describe(folder)
    sizes = {name: value for name, value in found.sizes.items() if name != "layers"}
    layers = tuple(Layer(mixer, 4) for mixer in mixers or found.backbone.mixers)
    made = {"routing_heads": found.backbone.key_value_heads, "conv_size": 1, "window": found.window or 8}
    return Architecture(**{**sizes, **made, "layers": layers, "backbone": found.backbone, **changed})


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Random weights for the config.json of a folder, under the names of transformers."""
    a = architecture_of(folder)
    backbone = a.backbone
    assert backbone is not None
    names = names_of_weights(
        len(a.layers), backbone.norms, backbone.qk_norm is not None, backbone.qkv_bias, backbone.out_bias,
        a.tie_embeddings,
    )  # fmt: skip
    shapes = {name: weight.shape for name, weight in LanguageModel(a).named_parameters()}
    made = {}
    for name, parts in names.items():
        for part in parts:
            made[part] = torch.randn(shapes[name][0] // len(parts), *shapes[name][1:]) * 0.2
    return made


def write_model(folder: Path, **fields: Any) -> Path:
    """Write a small model with random weights."""
    save_file(weights_of(write_config(folder, **fields)), folder / "model.safetensors")
    return folder


def options_of(*options: str) -> DictConfig:
    """The composed options of a model, before they are filled."""
    register()
    given = options if any(option.startswith("model=") for option in options) else ("model=pretrained", *options)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model: DictConfig = compose("train", list(given)).model
    return model


def model_of(folder: Path, *options: str) -> ModelConfig:
    """The options of the model in a folder, as a command has them."""
    composed = options_of(f"model.path={folder}", *options)
    fill(composed)
    model = OmegaConf.to_object(composed)
    assert isinstance(model, ModelConfig)
    return model
