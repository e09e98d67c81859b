"""The model that an export writes is the one that training has left."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from nas.results.opened import open_trained
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
