"""Models whose layers a stock family has are exported as that family, with the same logits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from nas.exporting import stock
from nas.pretrained.description import describe
from tests.nas.exporting.models import VOCAB, model_of, pretrained_architecture
from tests.nas.pretrained.test_weights import LLAMA3, SLIDING, YARN
from tests.nas.pretrained.written import GEMMA

BOTH = ("window", "softmax")
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "Llama": (("softmax", "softmax"), {"attention_bias": True}, "llama"),
    "Llama with windows, llama3": (BOTH, {"rope_parameters": LLAMA3, "attention_bias": True}, "smollm3"),
    "Llama of windows alone": (("window", "window"), {"tie_word_embeddings": True}, "smollm3"),
    "Qwen2 with windows": (BOTH, {"model_type": "qwen2"}, "qwen2"),
    "Qwen3 with windows, yarn": (BOTH, {"model_type": "qwen3", "rope_parameters": YARN}, "qwen3"),
    "OLMo 2": (("softmax", "softmax"), {"model_type": "olmo2"}, "olmo2"),
    "OLMo 2 with windows": (BOTH, {"model_type": "olmo2"}, "olmo3"),
    "OLMo 3": (BOTH, {"model_type": "olmo3", **SLIDING}, "olmo3"),
    "OLMo 3 with windows": (("window", "window"), {"model_type": "olmo3", **SLIDING}, "olmo3"),
    "Gemma 3": (BOTH, GEMMA, "gemma3_text"),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_stock_model_has_the_same_logits(case: str, tmp_path: Path) -> None:
    mixers, fields, family = CASES[case]
    a = pretrained_architecture(tmp_path / "original", *mixers, **fields)
    model = model_of(a)
    folder = tmp_path / "exported"
    folder.mkdir()
    config = stock.config_of(a)
    assert config["model_type"] == family
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    save_file(stock.weights_of(a, weights), folder / "model.safetensors", metadata={"format": "pt"})
    made: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    loaded, told = made
    assert not any(told.values()), told
    for length in (1, 6, 40):
        tokens = torch.randint(VOCAB, (2, length))
        torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, atol=1e-4, rtol=0)
    back = describe(folder)
    assert back.backbone.mixers == mixers
    assert back.window == (a.window if "window" in mixers else None)
