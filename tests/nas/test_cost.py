"""Costs, counted by hand for a small architecture."""

import pytest

from nas.cost import flops_per_token, kv_bytes
from nas.models.language_model import LanguageModel, count_parameters
from tests.nas.architectures import small

PER_TOKEN = 2 * (4 + 6)
"""Numbers that two heads keep of a token: keys of 4 and values of 6."""
STATE = 2 * 4 * 6
"""Numbers in the states of two heads."""


@pytest.mark.parametrize("context", [1, 100, 10_000])
def test_softmax_keeps_every_token_and_linear_a_fixed_state(context: int) -> None:
    assert kv_bytes(small("softmax", "softmax"), {}, context) == 2 * 2 * PER_TOKEN * context
    assert kv_bytes(small("linear", "linear"), {}, context) == 2 * 2 * STATE


def test_a_hybrid_keeps_its_softmax_chunks_its_own_chunk_and_the_state() -> None:
    hybrid = small("token_hybrid", "linear", "token_hybrid")
    kept = (0.1 * 1000 + 4) + (0.5 * 1000 + 4)
    assert kv_bytes(hybrid, {0: 0.1, 2: 0.5}, 1000) == 2 * (PER_TOKEN * kept + 3 * STATE)
    assert kv_bytes(hybrid, {0: 1.0, 2: 1.0}, 1000) == 2 * (PER_TOKEN * 2000 + 3 * STATE), "never more than there is"


def test_parameters_count_a_tied_head_once() -> None:
    tied, untied = (LanguageModel(small(tie_embeddings=tie)) for tie in (True, False))
    assert count_parameters(untied) == sum(weight.numel() for weight in untied.parameters())
    assert count_parameters(untied) - count_parameters(tied) == 11 * 12


def test_flops_are_weights_visible_keys_and_states() -> None:
    context, per_key, per_state = 1000, 2 * PER_TOKEN, 6 * STATE
    weights = {}
    for mixer in ("softmax", "linear", "token_hybrid"):
        model = LanguageModel(small(mixer))  # type: ignore[arg-type]
        weights[mixer] = flops_per_token(model, {0: 0.0}, 0) - (per_state if mixer != "softmax" else 0)
        assert weights[mixer] == 2 * (count_parameters(model) - 11 * 12), "the embedding is looked up, not multiplied"
    at = {
        mixer: flops_per_token(LanguageModel(small(mixer)), {0: 0.1}, context) - weights[mixer]  # type: ignore[arg-type]
        for mixer in weights
    }
    assert at["softmax"] == per_key * context
    assert at["linear"] == per_state
    assert at["token_hybrid"] == per_state + per_key * (100 + 4)


def test_flops_of_a_tied_head_are_those_of_an_untied_one() -> None:
    tied, untied = (LanguageModel(small(tie_embeddings=tie)) for tie in (True, False))
    assert flops_per_token(tied, {0: 0.2}, 500) == flops_per_token(untied, {0: 0.2}, 500)
