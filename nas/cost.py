"""What a model costs: parameters, multiply-adds per token and the memory of what it must remember."""

from nas.architecture import Architecture
from nas.models.language_model import LanguageModel, count_parameters

CACHE_BYTES = 2
"""Bytes of a cached number (bf16)."""


def parameters(model: LanguageModel) -> int:
    """Trainable parameters, a tied head counted once."""
    return count_parameters(model)


def kv_bytes(architecture: Architecture, shares: dict[int, float], context: int) -> int:
    """Bytes of keys, values and states that one sequence needs to go on after ``context`` tokens.

    A softmax layer keeps keys and values of every token, a routed one those of its softmax chunks (``shares``, by
    layer) and of the current chunk, and a layer with a linear branch its fixed state.
    """
    a = architecture
    per_token = a.linear_heads * (a.key_dim + a.value_dim)
    state = a.linear_heads * a.key_dim * a.value_dim
    total = 0.0
    for layer, mixer in enumerate(a.mixers):
        if mixer == "softmax":
            total += per_token * context
        elif mixer == "token_hybrid":
            total += state + per_token * min(context, shares[layer] * context + a.chunk_size)
        else:
            total += state
    return round(total * CACHE_BYTES)


def flops_per_token(model: LanguageModel, shares: dict[int, float], context: int) -> int:
    """Forward FLOPs of a token at the end of ``context`` tokens, a multiply-add counted as two.

    Two for each weight that multiplies it, 2 (K + V) per softmax head and visible key, and 6 K V per linear head for
    reading, correcting and writing the state.
    """
    a = model.architecture
    embedding = 0 if a.tie_embeddings else model.embedding.weight.numel()
    per_key = 2 * a.linear_heads * (a.key_dim + a.value_dim)
    per_state = 6 * a.linear_heads * a.key_dim * a.value_dim
    total = 2.0 * (count_parameters(model) - embedding)
    for layer, mixer in enumerate(a.mixers):
        if mixer == "softmax":
            total += per_key * context
        elif mixer == "token_hybrid":
            total += per_state + per_key * min(context, shares[layer] * context + a.chunk_size)
        else:
            total += per_state
    return round(total)
