"""What a model costs: parameters, multiply-adds per token and the memory of what it must remember."""

from nas.architecture import Architecture
from nas.models.language_model import LanguageModel, count_parameters

CACHE_BYTES = 2
"""Bytes of a cached number (bf16)."""


def kv_bytes(architecture: Architecture, shares: dict[int, float], context: int) -> int:
    """Bytes of keys, values and states that one sequence needs to go on after ``context`` tokens.

    A softmax layer keeps keys and values of every token, a routed one those of its softmax chunks (``shares``, by
    layer) and of the current chunk, and a layer with a linear branch its fixed state.
    """
    a = architecture
    per_token = a.linear_heads * (a.key_dim + a.value_dim)
    state = a.linear_heads * a.key_dim * a.value_dim
    keys, states = _remembered(a, shares, context)
    return round((per_token * keys + state * states) * CACHE_BYTES)


def flops_per_token(model: LanguageModel, shares: dict[int, float], context: int) -> int:
    """Forward FLOPs of a token at the end of ``context`` tokens, a multiply-add counted as two.

    Two for each weight that multiplies it, 2 (K + V) per softmax head and visible key, and 6 K V per linear head for
    reading, correcting and writing the state.
    """
    a = model.architecture
    embedding = 0 if a.tie_embeddings else model.embedding.weight.numel()
    per_key = 2 * a.linear_heads * (a.key_dim + a.value_dim)
    per_state = 6 * a.linear_heads * a.key_dim * a.value_dim
    keys, states = _remembered(a, shares, context)
    return round(2 * (count_parameters(model) - embedding) + per_key * keys + per_state * states)


def training_flops_per_token(model: LanguageModel, shares: dict[int, float], length: int) -> int:
    """FLOPs of training on a token, averaged over sequences of ``length``: forward, and backward as twice that.

    What the model needs at these ``shares`` of softmax chunks: neither the dense steps before routing began nor the
    gradients of routes that were not taken are counted.
    """
    return 3 * flops_per_token(model, shares, length // 2)  # linear in the context, so its middle has the average


def _remembered(architecture: Architecture, shares: dict[int, float], context: int) -> tuple[float, int]:
    """Tokens whose keys are kept, summed over layers, and the number of layers with a state."""
    keys, states = 0.0, 0
    for layer, mixer in enumerate(architecture.mixers):
        if mixer == "softmax":
            keys += context
        elif mixer == "token_hybrid":
            keys += min(context, shares[layer] * context + architecture.chunk_size)
        states += mixer != "softmax"
    return keys, states
