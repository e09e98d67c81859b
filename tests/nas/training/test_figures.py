"""Figures of layers during training."""

import pytest
import torch

from nas.search_spaces.space import option_name
from tests.nas.training.test_module import first_batch, made


def test_the_figures_tell_how_probable_the_options_of_each_layer_are() -> None:
    joint = ("space=joint", "space.chunk_sizes=[8]", "searcher=pairs", "model.layers=2")
    module = made("cpu", *joint)
    with torch.no_grad():
        module.architecture_logits.logits["1"].copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    figures = module.figures()
    options = ("softmax", "linear", "token_hybrid@8", "window")
    assert {name for name in figures if name.startswith("probability/")} == {
        f"probability/layer_{layer}/{option}" for layer in (0, 1) for option in options
    }
    by_option = [figures[f"probability/layer_1/{option}"] for option in map(option_name, module.space.options[1])]
    assert by_option == pytest.approx(torch.arange(4.0).softmax(-1).tolist())
    assert made("cpu").figures() == {}
    assert made("cpu", *joint, "relaxation=uniform").figures() == {}


def test_the_figures_have_the_softmax_share_of_each_routed_layer() -> None:
    module = made("cpu", "model.layers=3", "model.routed_layers=[0,2]", begun=True)
    module.training_step(first_batch(module), 0)
    shares = {name: share for name, share in module.figures().items() if name.startswith("share/")}
    running = module.architecture_logits.shares[:, 0].tolist()
    assert shares == {"share/layer_0": running[0], "share/layer_2": running[2]}
