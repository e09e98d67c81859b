"""Operations of pretrained models: equal to each other where they mean the same, and with their true cost."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nas.budget.cost import flops_per_token, kv_bytes
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel, count_parameters
from nas.models.operations import operation_of
from nas.search_spaces.architecture import Architecture
from tests.nas.pretrained.written import GEMMA, architecture_of, write_config

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True},
    "qwen2": {"model_type": "qwen2"},
    "olmo2": {"model_type": "olmo2"},
    "gemma": GEMMA,
}


@pytest.fixture(params=list(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_config(tmp_path, **FAMILIES[request.param])


@torch.no_grad()
def test_a_window_of_the_whole_sequence_is_softmax_attention(folder: Path) -> None:
    models = []
    for mixer in ("softmax", "window"):
        torch.manual_seed(0)
        models.append(LanguageModel(architecture_of(folder, mixer, mixer, window=20)).double())
    tokens = torch.randint(256, (1, 24))
    full, window = (model(tokens).logits for model in models)
    torch.testing.assert_close(full[:, :20], window[:, :20])
    assert (full[:, 20:] - window[:, 20:]).abs().amax(-1).min() > 1e-6


@pytest.mark.parametrize("mixer", ["softmax", "window", "linear", "token_hybrid"])
def test_weights_of_layers_are_counted(folder: Path, mixer: str) -> None:
    a = architecture_of(folder, mixer, "softmax")
    embedding = a.vocab_size * a.width * (1 if a.tie_embeddings else 2)
    weights = count_parameters(LanguageModel(a)) - embedding
    counted = flops_per_token(a, {}, 0) / 2 - a.vocab_size * a.width
    state = 3 * a.linear_heads * a.key_dim * a.value_dim if mixer in ("linear", "token_hybrid") else 0
    assert counted - state == weights


def kept_by(a: Architecture) -> int:
    """The bytes that decoding keeps of two chunks in bfloat16. The second lacks a token, or a third would begin."""
    decoder = Decoder(LanguageModel(a).bfloat16())
    decoder.prefill(torch.randint(256, (1, 7)))
    return decoder.bytes_in_use


def test_caches_hold_the_heads_of_keys_and_values_alone(folder: Path) -> None:
    a = architecture_of(folder, "softmax", "softmax")
    assert a.backbone is not None
    assert kept_by(a) == kv_bytes(a, {}, 8) == 2 * 8 * 2 * a.backbone.key_value_heads * 2 * a.key_dim


def test_operations_of_plugins_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = architecture_of(folder)
    monkeypatch.setattr("nas.models.operations.pretrained.OPERATIONS", {"softmax": operation_of("softmax", a)})
    with pytest.raises(ValueError, match="operation linear cannot use the projections of a pretrained model"):
        operation_of("linear", a)
