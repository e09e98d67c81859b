"""Sizes of a small model."""

from typing import Any

SIZES: dict[str, Any] = {
    "name": "test",
    "layers": 4,
    "width": 8,
    "linear_heads": 2,
    "key_dim": 4,
    "value_dim": 4,
    "softmax_heads": 2,
    "routing_heads": 2,
    "chunk_size": 4,
    "mlp_width": 8,
    "conv_size": 4,
    "tie_embeddings": False,
}
