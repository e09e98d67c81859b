"""The model that an export writes is the one that training has left."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from nas.results.opened import open_trained
from nas.workflows.export import with_ends
from tests.nas.test_export import exported, own_cache

__all__ = ["own_cache"]


def test_routers_that_never_decided_are_left_out(editable: Path, tmp_path: Path) -> None:
    metrics = json.loads((editable / "metrics.json").read_text())
    metrics["budget"]["dense_steps"] = None
    (editable / "metrics.json").write_text(json.dumps(metrics))
    exported(editable, tmp_path / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    tokens = torch.randint(24, (2, 21))
    opened = open_trained("run", str(editable), "cpu")
    torch.testing.assert_close(model(tokens).logits, opened.trained(tokens, opened.policy).logits, atol=1e-4, rtol=0)
    assert not any("router" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("given", "ends", "made"),
    [
        ({"eos_token_id": [5, 7], "top_k": 3}, {"eos_token_id": 5, "pad_token_id": 5}, ([5, 7], 5)),
        ({"eos_token_id": 5, "pad_token_id": 2}, {"eos_token_id": 1, "pad_token_id": 1}, ([5, 1], 2)),
        ({"eos_token_id": None}, {"eos_token_id": 1, "pad_token_id": 1}, (1, 1)),
        ({"eos_token_id": [5]}, {}, (5, None)),
        ({}, {"pad_token_id": 256}, (None, 256)),
    ],
)
def test_a_text_ends_with_the_end_tokens_of_the_model_and_of_the_training(
    given: dict[str, Any], ends: dict[str, int], made: tuple[Any, Any]
) -> None:
    fields = with_ends(given, ends)
    assert (fields.get("eos_token_id"), fields.get("pad_token_id")) == made
    assert fields.get("top_k") == given.get("top_k")
