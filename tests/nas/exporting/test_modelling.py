"""The modelling file computes what the toolkit computes: logits, and continuations token by token."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from nas.models.decoding import Decoder, generate
from nas.models.language_model import LanguageModel
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.exporting.models import (
    VOCAB,
    model_of,
    own_architecture,
    padded,
    pretrained_architecture,
    same_in,
    written_module,
)
from tests.nas.pretrained.written import GEMMA

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "positions": {"rope_base": 10000.0, "log_n": True, "router_features": "mean+max+last"},
    "tied": {"tie_embeddings": True, "negative_eigenvalues": True, "conv_size": 1},
}
HYBRID = ("token_hybrid", "softmax", "linear", "window")
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "olmo3": {
        "model_type": "olmo3",
        "layer_types": ["full_attention"] * 3 + ["sliding_attention"],
        "sliding_window": 5,
    },
    "gemma3": GEMMA | {"layer_types": ["full_attention"] * 3 + ["sliding_attention"], "sliding_window": 5},
}
TOLERANCE = 1e-4
"""Largest difference of logits in float32."""


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return written_module(tmp_path_factory.mktemp("modelling"))


@pytest.fixture(params=["copied", "toolkit"])
def kernels(request: pytest.FixtureRequest, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose kernels compute whole sequences."""
    if request.param == "copied":
        monkeypatch.setattr(module, "toolkit", lambda: None)
    else:
        assert module.toolkit() is not None
    return str(request.param)


@pytest.fixture(params=[*OPTIONS, *FAMILIES])
def architecture(request: pytest.FixtureRequest, tmp_path: Path) -> Architecture:
    if request.param in OPTIONS:
        return own_architecture(**OPTIONS[request.param])
    return pretrained_architecture(tmp_path, *HYBRID, **FAMILIES[request.param])


@torch.no_grad()
def test_logits_are_equal_at_every_length(architecture: Architecture, module: ModuleType, kernels: str) -> None:
    model = model_of(architecture)
    exported = same_in(module, model)
    for length in (1, 3, 4, 5, 12, 53):
        tokens = torch.randint(VOCAB, (2, length))
        expected = model(tokens)
        torch.testing.assert_close(exported(tokens).logits, expected.logits, atol=TOLERANCE, rtol=0)
    kept = torch.cat([one.weights[..., 0].flatten() for own in expected.routing.values() for one in own])
    assert 0.1 < kept.mean() < 0.9  # else the routes are not tested


@torch.no_grad()
def test_a_cache_continues_from_any_place(architecture: Architecture, module: ModuleType) -> None:
    model = model_of(architecture)
    exported = same_in(module, model)
    tokens = torch.randint(VOCAB, (2, 27))
    expected = model(tokens).logits
    for place in (1, 4, 11, 12):
        started = exported(tokens[:, :place], use_cache=True)
        following = exported(tokens[:, place:], cache=started.cache).logits
        torch.testing.assert_close(following, expected[:, place:], atol=TOLERANCE, rtol=0)


def test_greedy_continuations_of_a_padded_batch_are_equal(architecture: Architecture, module: ModuleType) -> None:
    model = model_of(architecture)
    exported = same_in(module, model)
    prompts = [torch.randint(VOCAB, (length,)) for length in (5, 9, 3, 9, 12)]
    expected = generate(model, prompts, 20, temperature=0)
    options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
    made = exported.generate(**padded(prompts), **options)
    assert torch.equal(made[:, 12:], expected)
    alone = exported.generate(prompts[1][None], attention_mask=torch.ones(1, 9), **options)
    assert torch.equal(alone[0, 9:], expected[1])
    without = exported.generate(**padded(prompts), **options, use_cache=False)
    assert torch.equal(without, made)


@torch.no_grad()
def test_logits_of_padded_prompts_are_those_of_each_prompt_alone(module: ModuleType) -> None:
    exported = same_in(module, model_of(own_architecture()))
    prompts = [torch.randint(VOCAB, (length,)) for length in (5, 9, 3)]
    logits = exported(**padded(prompts)).logits
    for own, prompt in zip(logits, prompts, strict=True):
        torch.testing.assert_close(own[9 - len(prompt) :], exported(prompt[None]).logits[0])


@torch.no_grad()
def test_the_cache_keeps_what_routers_keep(module: ModuleType) -> None:
    a = own_architecture(layers=(Layer("token_hybrid", 4), Layer("linear", 4), Layer("window", 4)))
    model = model_of(a)
    tokens = torch.randint(VOCAB, (2, 50))
    exported, decoder = same_in(module, model), Decoder(model)
    cache = exported(tokens[:, :30], use_cache=True).cache
    decoder.prefill(tokens[:, :30])
    for index in range(30, 50):
        exported(tokens[:, index : index + 1], cache=cache)
        decoder.step(tokens[:, index])
    routed = cache.layers[0].keys
    routes = model(tokens).routing[0][0].weights[..., 0]
    per_key = a.linear_heads * (a.key_dim + a.value_dim) // a.routing_heads
    kept = 4 * int(routes[:, :12].sum()) + 2 * 2 * (50 - 48)
    assert routed.k.numel() + routed.v.numel() == kept * per_key
    window = cache.layers[2].keys
    assert window.k.shape[0] == 2 * a.window
    assert cache.bytes_in_use <= decoder.bytes_in_use


def test_a_drop_of_every_chunk_leaves_a_cache_of_fixed_size(module: ModuleType) -> None:
    model = model_of(own_architecture(layers=(Layer("token_hybrid", 4),)))
    with torch.no_grad():
        model.get_parameter("blocks.0.mixer.router.score.bias").copy_(torch.tensor([-99.0, 99.0]).repeat(2))
    exported = same_in(module, model)
    sizes = []
    for length in (8, 80):
        with torch.no_grad():
            cache = exported(torch.randint(VOCAB, (1, length)), use_cache=True).cache
        sizes.append(cache.bytes_in_use)
    assert sizes[0] == sizes[1]


def test_gradients_and_loss_are_those_of_the_toolkit(module: ModuleType) -> None:
    model: LanguageModel = model_of(own_architecture())
    exported = same_in(module, model)
    tokens = torch.randint(VOCAB, (2, 23))
    loss = exported(tokens, labels=tokens).loss
    own = torch.nn.functional.cross_entropy(model(tokens).logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(loss, own)
    loss.backward()
    own.backward()
    gradients = dict(exported.named_parameters())
    for name, weight in model.named_parameters():
        torch.testing.assert_close(gradients[name].grad, weight.grad, atol=1e-4, rtol=1e-3)


def test_what_the_cache_cannot_do_is_refused(module: ModuleType) -> None:
    exported = same_in(module, model_of(own_architecture()))
    prompt = torch.randint(1, VOCAB, (2, 5))
    with pytest.raises(ValueError, match="beam search is not supported by this model's cache; use num_beams=1"):
        exported.generate(prompt, num_beams=2, max_new_tokens=3, pad_token_id=0)
    with pytest.raises(ValueError, match="attention_mask has padding after a prompt; pad on the left"):
        exported(prompt, attention_mask=torch.tensor([[1] * 5, [1] * 4 + [0]]), use_cache=True)
    cache = exported(prompt, use_cache=True).cache
    with pytest.raises(ValueError, match="input_ids has 1 sequences, but the cache has 2"):
        exported(prompt[:1], cache=cache)
