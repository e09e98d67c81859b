"""New operations begin at the scale of the outputs of their layers."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from nas.models.language_model import Block, LanguageModel
from nas.models.pretrained_mixer import PretrainedMixer
from nas.models.routing import first_alone
from nas.training.alignment.errors import alignment_errors, options_to_align
from nas.training.alignment.module import AlignmentModule
from nas.training.alignment.scale import match_scales
from tests.nas.pretrained.written import GEMMA, write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


def ratios(model: LanguageModel, tokens: torch.Tensor) -> list[float]:
    """Root mean square of the linear operation's outputs over that of the original, by layer, both without biases."""
    mixers = [cast("PretrainedMixer", cast("Block", block).mixer) for block in model.blocks]
    seen: list[torch.Tensor] = []
    handles = [mixer.register_forward_hook(lambda _, given, made: seen.append(given[0])) for mixer in mixers]
    model(tokens, first_alone)  # the first option of each layer is the original
    for handle in handles:
        handle.remove()

    def size(mixer: PretrainedMixer, y: torch.Tensor) -> float:
        return float((y if mixer.out.bias is None else y - mixer.out.bias).square().mean().sqrt())

    with torch.no_grad():
        return [
            size(mixer, mixer.alone(x, "linear")) / size(mixer, mixer.original(x))
            for mixer, x in zip(mixers, seen, strict=True)
        ]


@pytest.mark.parametrize("fields", [{}, GEMMA, {"attention_bias": True}], ids=["llama", "gemma", "with biases"])
def test_outputs_get_the_size_of_the_original_ones(tmp_path: Path, fields: dict[str, Any]) -> None:
    model, task = model_and_task(config_of(write_model(tmp_path, **fields)))
    tokens = task.train_batch(0).tokens
    before = ratios(model, tokens)
    assert all(abs(ratio - 1) > 0.05 for ratio in before)
    match_scales(model, tokens)
    assert ratios(model, tokens) == pytest.approx([1.0] * len(before), rel=1e-4)


def test_small_values_no_longer_begin_with_a_large_error(tmp_path: Path) -> None:
    model, task = model_and_task(config_of(write_model(tmp_path)))
    with torch.no_grad():
        for block in model.blocks:
            cast("PretrainedMixer", cast("Block", block).mixer).v.weight.mul_(0.05)
    tokens, options = task.train_batch(0).tokens, options_to_align(model)
    before = alignment_errors(model, options, tokens)
    match_scales(model, tokens)
    after = alignment_errors(model, options, tokens)
    for layer in range(len(model.blocks)):
        assert before[layer, "linear"] > 20 > 4 > after[layer, "linear"]


def test_values_of_zero_change_nothing(tmp_path: Path) -> None:
    model, task = model_and_task(config_of(write_model(tmp_path)))
    mixer = cast("PretrainedMixer", cast("Block", model.blocks[0]).mixer)
    norm = cast("torch.nn.RMSNorm", mixer.linear_norm)
    before = norm.weight.clone()
    with torch.no_grad():
        mixer.v.weight.zero_()
    match_scales(model, task.train_batch(0).tokens)
    assert torch.equal(norm.weight, before)


@pytest.mark.parametrize("packed", [False, True])
def test_an_alignment_begins_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    config = config_of(write_model(tmp_path), "space.operations=[softmax,linear]")
    model, task = model_and_task(config)
    if packed:
        batch = task.train_batch(0)
        documents = (torch.arange(batch.tokens.shape[1]) > 5).int().expand(batch.tokens.shape)
        monkeypatch.setattr(task, "train_batch", lambda step: batch._replace(documents=documents))
    module = AlignmentModule(model, task, config, 10)
    norms = [cast("Any", block).mixer.linear_norm.weight for block in model.blocks]
    before = [norm.clone() for norm in norms]
    module.on_train_start()
    assert all(not torch.equal(norm, old) for norm, old in zip(norms, before, strict=True))
