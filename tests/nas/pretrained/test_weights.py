"""Models with the weights of a folder compute what `transformers` computes, whatever the family."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas.errors import UserError
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.pretrained.weights import load_pretrained
from tests.nas.pretrained.written import CONFIG, GEMMA, architecture_of, write_config, write_model

LENGTHS = (1, 6, 40)
"""One token, one chunk and a half, and more than the window and many chunks."""
TOLERANCE = 1e-4
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}
SLIDING = {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]}
SHARED = {"tie_word_embeddings": True, "attention_bias": True}
CASES: dict[str, dict[str, Any]] = {
    "Llama in several files": {"shards": True},
    "Llama, biases, tied, llama3": {**SHARED, "rope_parameters": LLAMA3},
    "Llama in bfloat16, linear": {
        "half": True,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0},
    },
    "Llama, dynamic": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 4.0}},
    "SmolLM3, sliding": {
        "model_type": "smollm3",
        "no_rope_layers": [1, 1],
        "use_sliding_window": True,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "pad_token_id": None,
        **SLIDING,
    },
    "Qwen2, sliding": {"model_type": "qwen2", "use_sliding_window": True, **SLIDING},
    "Qwen2, yarn": {"model_type": "qwen2", "rope_parameters": YARN},
    "Qwen3": {"model_type": "qwen3"},
    "OLMo 2": {"model_type": "olmo2"},
    "OLMo 3, yarn": {
        "model_type": "olmo3",
        **SLIDING,
        "rope_scaling": {name: value for name, value in YARN.items() if name != "rope_theta"},
    },
    "Gemma 3": {**GEMMA, "tie_word_embeddings": True, "shards": True},
    "Gemma 3, linear": {**GEMMA, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
}


def original_of(folder: Path, fields: dict[str, Any]) -> nn.Module:
    """Write a model of `transformers` with random weights, and return it in float32."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {name: value for name, value in (CONFIG | fields).items() if name not in ("shards", "half")}
    if values["model_type"] == "olmo2":
        del values["head_dim"]  # it is the width divided by the heads
    config = AutoConfig.for_model(**values)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            around = 1.0 if "norm" in name and "gemma" not in values["model_type"] else 0.0
            weight.copy_(around + torch.randn(weight.shape) * 0.3)
    dtype = torch.bfloat16 if fields.get("half") else torch.float32
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": "10KB"} if fields.get("shards") else {}))
    loaded: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return loaded.eval()


def logits_of(model: Any, tokens: Tensor) -> Tensor:
    logits: Tensor = model(tokens, **({} if isinstance(model, LanguageModel) else {"use_cache": False})).logits
    return logits


@torch.no_grad()
def test_logits_equal_those_of_transformers(subtests: pytest.Subtests, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    for name, fields in CASES.items():
        with subtests.test(name):
            torch.manual_seed(1)
            folder = tmp_path / name
            original = original_of(folder, fields)
            assert len(list(folder.glob("*.safetensors"))) > 1 or not fields.get("shards")
            model = LanguageModel(architecture_of(folder)).eval()
            load_pretrained(model, folder)
            tokens = torch.randint(256, (2, max(LENGTHS)))
            for length in LENGTHS:
                wanted = logits_of(original, tokens[:, :length])
                torch.testing.assert_close(logits_of(model, tokens[:, :length]), wanted, rtol=0, atol=TOLERANCE)
            decoder = Decoder(model)
            steps = [decoder.prefill(tokens[:, :5]), *(decoder.step(token) for token in tokens[:, 5:].unbind(1))]
            torch.testing.assert_close(torch.stack(steps, 1), wanted[:, 4:], rtol=0, atol=TOLERANCE)


def test_parameters_of_added_operations_are_counted(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    alone, hybrid = (LanguageModel(architecture_of(folder, *mixers)) for mixers in ((), ("softmax", "token_hybrid")))
    assert load_pretrained(alone, folder).added == 0
    before = {name: weight.clone() for name, weight in hybrid.named_parameters()}
    loaded = load_pretrained(hybrid, folder)
    assert loaded.loaded == sum(weight.numel() for weight in alone.parameters())
    assert loaded.added == sum(weight.numel() for weight in hybrid.parameters()) - loaded.loaded
    kept = [name for name, weight in hybrid.named_parameters() if weight.equal(before[name])]
    added = [name for name in before if any(part in name for part in ("router", "branch_score", "decay", "write"))]
    assert added
    assert set(added) <= set(kept)
    assert not any(name.endswith(("q.weight", "down.weight", "embedding.weight")) for name in kept)


def test_linear_outputs_begin_with_the_size_of_the_values(tmp_path: Path) -> None:
    folder = write_model(tmp_path, hidden_size=64)
    model = LanguageModel(architecture_of(folder, "linear", "linear"))
    load_pretrained(model, folder)
    mixer: Any = model.get_submodule("blocks.0.mixer")
    norm: Any = model.get_submodule("blocks.0.mixer_norm")
    values = mixer.v(norm(torch.randn(4, 200, 64)))
    weight = mixer.linear_norm.weight
    assert weight.unique().numel() == 1
    assert weight[0].item() == pytest.approx(values.square().mean().sqrt().item(), rel=0.1)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    model, stored = LanguageModel(architecture_of(folder)), load_file(folder / "model.safetensors")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    name = "model.layers.1.self_attn.k_proj.weight"
    wrong = {
        f"lacks {name} (1 of 21 weights are missing)": {n: w for n, w in stored.items() if n != name},
        f"has {name} of shape [16, 15], but by its config.json it must be [16, 16]": stored
        | {name: stored[name][:, 1:].contiguous()},
        "has model.layers.0.self_attn.q_proj.bias, which models of the family Llama": stored
        | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)},
        f"has {name} in torch.int8": stored | {name: stored[name].to(torch.int8)},
    }
    for message, weights in wrong.items():
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(UserError, match=str(tmp_path)) as refused:
            load_pretrained(model, folder)
        assert message in str(refused.value)
        if "int8" not in message:
            assert all(weight.equal(before[own]) for own, weight in model.named_parameters())


def test_tensors_that_are_no_weights_are_ignored(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    other = {
        "lm_head.weight": stored["model.embed_tokens.weight"].clone(),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    save_file(stored | other, folder / "model.safetensors")
    model = LanguageModel(architecture_of(folder))
    load_pretrained(model, folder)
    assert model.head.weight.equal(stored["model.embed_tokens.weight"])


def test_tied_embeddings_that_differ_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {"lm_head.weight": torch.zeros(256, 16)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"has lm_head\.weight that differs from .*; set .* to false"):
        load_pretrained(LanguageModel(architecture_of(folder)), folder)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    write_config(folder, num_hidden_layers=3)
    with pytest.raises(UserError, match=r"lacks model\.layers\.2\."):
        load_pretrained(LanguageModel(architecture_of(folder)), folder)
