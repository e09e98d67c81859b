"""Run folders as their files alone, without a training."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.nas.runs.examples import metrics

LAYERS = {"mixer": "linear", "chunk_size": 8}
ARCHITECTURE = {
    "vocab_size": 24,
    "width": 16,
    "layers": [LAYERS, LAYERS],
    "linear_heads": 2,
    "key_dim": 8,
    "value_dim": 8,
    "softmax_heads": 2,
    "routing_heads": 2,
    "mlp_width": 16,
    "conv_size": 4,
    "tie_embeddings": False,
    "rope_base": None,
    "negative_eigenvalues": False,
    "given_routing": None,
    "given_share": None,
    "window": 64,
}


def run(folder: Path, command: str = "search", **options: Any) -> Path:
    """A run folder with a config alone."""
    folder.mkdir(parents=True)
    data = {"name": "recall", "length": 64, "path": None}
    config = {"data": data, "trainer": {"steps": 200}, "seed": 3, "space": {"name": "token_hybrid"}, **options}
    described = {"command": command, "config": config, "created": "2026-11-28_12-00-00"}
    (folder / "config.yaml").write_text(yaml.safe_dump(described))
    return folder


def finished(folder: Path, **changed: Any) -> Path:
    """A run folder with results."""
    run(folder)
    (folder / "metrics.json").write_text(json.dumps(metrics(**changed).to_json()))
    (folder / "architecture.json").write_text(json.dumps({"architecture": ARCHITECTURE}))
    return folder
