"""Which stock family has the layers of a model, and searches that keep to such layers."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from nas.pretrained import stock
from nas.pretrained.stock import build_space
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.backbone import Backbone, Rope
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space
from tests.nas.exporting.models import own_architecture, pretrained_architecture
from tests.nas.pretrained.written import GEMMA
from tests.search_spaces.sizes import SIZES, gemma, names


@pytest.mark.parametrize(
    ("mixers", "fields", "told"),
    [
        (("linear", "softmax"), {}, "softmax and window layers only, and the model has layers 0 \\(linear\\)"),
        (("softmax", "token_hybrid"), {}, "layers 1 \\(token_hybrid\\)"),
        (("window", "window"), GEMMA, "layer 1 \\(window\\) has the rotary positions of another type of layer"),
    ],
)
def test_what_no_family_has_is_named(
    mixers: tuple[str, ...], fields: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(stock.NotStock, match=told):
        stock.family_of(pretrained_architecture(tmp_path, *mixers, **fields))


def test_models_of_this_project_and_several_widths_are_of_no_family(tmp_path: Path) -> None:
    with pytest.raises(stock.NotStock, match="only runs with model=pretrained"):
        stock.family_of(own_architecture())
    a = pretrained_architecture(tmp_path, "softmax", "softmax")
    layers = (a.layers[0]._replace(mlp_width=8), a.layers[1])
    several: Architecture = replace(a, layers=layers)
    with pytest.raises(stock.NotStock, match="one width of the MLP"):
        stock.family_of(several)


def built(operations: list[str], **model: Any) -> Space:
    config = SpaceConfig("layer_hybrid", "full", operations, tiny_layers=2)
    return build_space(config, ModelConfig(**(SIZES | model)), vocab_size=11)


def llama(scaling: str = "default") -> dict[str, Any]:
    """Options of a pretrained model of four full layers."""
    backbone = Backbone("llama", ("softmax",) * 4, (Rope(10000.0, scaling),) * 4, key_value_heads=2, context=64)
    return {"backbone": json.dumps(asdict(backbone)), "path": "llama", "vocab_size": 20}


def gemma3() -> dict[str, Any]:
    """Options of a pretrained model whose full layer has other positions than its sliding layers."""
    options = gemma()
    backbone = json.loads(options["backbone"])
    backbone["ropes"][1]["base"] = 1e6
    return options | {"backbone": json.dumps(backbone)}


def test_a_search_keeps_to_layers_of_a_family() -> None:
    every = ["softmax", "linear", "window", "token_hybrid"]
    assert names(built(every, stock=True, **llama())) == [["softmax", "window"]] * 4
    assert len(names(built(every, **llama()))[0]) == 4


@pytest.mark.parametrize(
    ("operations", "model", "told"),
    [
        (["softmax", "linear"], llama(), "leaves no choice in any layer: .* give space.operations=.softmax,window."),
        (["softmax", "window"], gemma3(), "leaves no choice in any layer"),
        (["softmax", "window"], {}, "model.stock=true is for models that start from a pretrained one; give model=pre"),
    ],
    ids=["linear", "Gemma 3", "own model"],
)
def test_a_space_without_layers_of_a_family_is_refused(operations: list[str], model: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        built(operations, stock=True, **model)
