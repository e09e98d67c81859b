"""Errors of operations: which options have some, what they learn from, and that layers do not depend on each other."""

from pathlib import Path
from typing import cast

import pytest
import torch

from nas.models.language_model import Block
from nas.models.routing import LayerChoice, first_alone
from nas.search_spaces.architecture import Layer
from nas.training.alignment.errors import added_parameters, alignment_errors, options_to_align
from tests.nas.pretrained.written import GEMMA, write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pretrained model with a sliding layer and a full one."""
    return write_model(tmp_path_factory.mktemp("model"), **GEMMA)


def test_options_with_parameters_of_their_own_are_aligned(folder: Path) -> None:
    model, _ = model_and_task(config_of(folder))
    assert [list(own) for own in options_to_align(model)] == [["linear"], ["linear", "token_hybrid@8"]]
    names = {name.rpartition("mixer.")[2] for name in added_parameters(model)}
    linear = {"decay.weight", "write.weight", "write.bias", "log_decay_rate", "decay_bias", "linear_norm.weight"}
    assert names == linear | {"branch_score.weight", "branch_score.bias"}


def test_the_input_and_the_target_are_those_of_the_original(folder: Path) -> None:
    model, task = model_and_task(config_of(folder))
    tokens = task.train_batch(0).tokens
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    mixers = [cast("Block", block).mixer for block in model.blocks]
    handles = [mixer.register_forward_hook(lambda _, given, made: seen.append((given[0], made[0]))) for mixer in mixers]
    originals = [index for index, own in enumerate(model.options[1]) if own == Layer("softmax", 8)]
    assert originals == [0]
    model(tokens, first_alone)  # the first option of each layer is the original
    for handle in handles:
        handle.remove()
    options = options_to_align(model)
    found = alignment_errors(model, options, tokens)
    for layer, (given, mixed) in enumerate(seen):
        index = options[layer]["linear"]
        y, _ = mixers[layer](given, first_alone, LayerChoice(index))
        expected = (y - mixed).square().sum() / mixed.square().sum()
        torch.testing.assert_close(found[layer, "linear"], expected)


def test_an_error_depends_on_its_own_layer_alone(folder: Path) -> None:
    model, task = model_and_task(config_of(folder))
    errors = alignment_errors(model, options_to_align(model), task.train_batch(0).tokens)
    errors[1, "linear"].backward()
    reached = {name.split(".")[1] for name, p in added_parameters(model).items() if p.grad is not None}
    assert reached == {"1"}
    assert model.embedding.weight.grad is None
