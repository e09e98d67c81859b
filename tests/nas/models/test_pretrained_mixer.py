"""A layer of a pretrained model starts as the original, whatever a router may choose later."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.data.documents import Documents
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.pretrained_mixer import PretrainedMixer
from nas.models.routing import LayerChoice
from nas.search_spaces.architecture import Layer
from tests.nas.pretrained.written import GEMMA, architecture_of, write_config

LENGTH = 22


def model_of(folder: Path, *mixers: str, **fields: object) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(architecture_of(write_config(folder, **fields), *mixers)).double()
    for weight in made.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return made


def tokens_of(model: LanguageModel) -> Tensor:
    return torch.randint(model.architecture.vocab_size, (2, LENGTH))


@pytest.mark.parametrize("mixers", [("linear", "window"), ("token_hybrid", "linear"), ("window", "token_hybrid")])
@torch.no_grad()
def test_steps_equal_the_whole_sequence(mixers: tuple[str, str], tmp_path: Path) -> None:
    model = model_of(tmp_path, *mixers, **GEMMA)
    tokens = tokens_of(model)
    whole = model(tokens).logits
    decoder = Decoder(model)
    prompts = [tokens[0, :5], tokens[1, :9]]  # two lengths: positions differ within a step
    first = decoder.prefill(prompts)
    steps = [first, *(decoder.step(torch.stack([tokens[0, 5 + t], tokens[1, 9 + t]])) for t in range(LENGTH - 9))]
    each = torch.stack(steps, 1)
    torch.testing.assert_close(each[0], whole[0, 4 : LENGTH - 4])
    torch.testing.assert_close(each[1], whole[1, 8:])


@torch.no_grad()
def test_routers_begin_with_softmax_everywhere(tmp_path: Path) -> None:
    folder = write_config(tmp_path)
    torch.manual_seed(0)
    model = LanguageModel(architecture_of(folder, "token_hybrid", "token_hybrid"))
    tokens = tokens_of(model)
    for routings in model(tokens).routing.values():
        assert all((routing.weights[..., 0] == 1).all() for routing in routings)
    mixer = model.get_submodule("blocks.0.mixer")
    assert isinstance(mixer, PretrainedMixer)
    scores = mixer.branch_score(torch.randn(1, 1, 32)).unflatten(-1, (-1, 2)).softmax(-1)
    assert (scores[..., 0] > 0.95).all()


@torch.no_grad()
def test_a_mixture_equals_the_option_that_has_all_the_weight(tmp_path: Path) -> None:
    folder = write_config(tmp_path, **GEMMA, tie_word_embeddings=False)
    full = tuple(Layer(mixer, 4) for mixer in ("softmax", "linear", "window", "token_hybrid"))
    torch.manual_seed(0)
    model = LanguageModel(architecture_of(folder), "full", (full[1:3], full)).double()
    tokens = tokens_of(model)
    for option in range(len(full)):
        weights = torch.zeros(len(full), dtype=torch.float64)
        weights[option] = 1
        alone = model(tokens, layer_choices=[LayerChoice(0), LayerChoice(option)]).logits
        mixed = model(tokens, layer_choices=[LayerChoice(0), LayerChoice(None, weights)]).logits
        torch.testing.assert_close(mixed, alone)


@pytest.mark.parametrize("mixers", [("linear", "window"), ("token_hybrid", "softmax")])
def test_a_packed_batch_is_its_documents_one_by_one(mixers: tuple[str, str], tmp_path: Path) -> None:
    model = model_of(tmp_path, *mixers, **GEMMA | {"layer_types": ["full_attention"] * 2})
    tokens, ends = tokens_of(model), [0, 1, 10, LENGTH, LENGTH + 5, 2 * LENGTH]  # longer and shorter than the window
    index = torch.tensor([[0] + 9 * [1] + 12 * [2], 5 * [0] + 17 * [1]])
    packed = model(tokens, documents=Documents.of(index)).logits
    packed.square().sum().backward()
    gradients = [weight.grad for weight in model.parameters()]
    model.zero_grad()
    alone = [model(tokens.flatten()[None, start:end]).logits for start, end in pairwise(ends)]
    torch.cat(alone, 1).square().sum().backward()
    torch.testing.assert_close(packed.flatten(0, 1)[None], torch.cat(alone, 1))
    for given, weight in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(given, weight.grad)


def test_every_added_parameter_has_a_gradient(tmp_path: Path) -> None:
    model = model_of(tmp_path, "token_hybrid", "linear", model_type="qwen3")
    tokens = tokens_of(model)
    policy = model.policy

    def soft(layer: int, logits: Tensor) -> Tensor:
        return policy(layer, logits).detach() + logits.softmax(-1) - logits.softmax(-1).detach()

    model(tokens, soft).logits.square().mean().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


@torch.no_grad()
def test_inherited_weights_are_those_of_the_supernet(tmp_path: Path) -> None:
    folder = write_config(tmp_path)
    options = tuple(Layer(mixer, 4) for mixer in ("softmax", "linear"))
    supernet = LanguageModel(architecture_of(folder), "full", (options, options))
    child = supernet.inherit(architecture_of(folder, "softmax", "linear"))
    tokens = tokens_of(child)
    chosen = supernet(tokens, layer_choices=[LayerChoice(0), LayerChoice(1)]).logits
    torch.testing.assert_close(child(tokens).logits, chosen)
