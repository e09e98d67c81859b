"""Costs: counted by hand, against the parameters, memory and FLOPs of what really runs, and over whole spaces."""

import itertools
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode

from nas.budget.cost import (
    FLOPS,
    KV_BYTES,
    SOFTMAX_SHARE,
    UNITS,
    SpaceCost,
    flops_per_token,
    kv_bytes,
    line,
    search_flops_per_token,
    training_flops_per_token,
)
from nas.kernels.chunk_softmax_attention import decode as softmax_decode
from nas.kernels.chunk_softmax_attention import window_decode
from nas.kernels.gated_delta_rule import decode as linear_decode
from nas.latency.table import LATENCY
from nas.models.language_model import LanguageModel, count_parameters
from nas.models.policies import learnt
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.space import Code, Space
from tests.nas.architectures import MIXERS, small
from tests.nas.latency.examples import cost_of

PER_TOKEN = 2 * (4 + 6)
"""Numbers that two heads keep of a token: keys of 4 and values of 6."""
STATE = 2 * 4 * 6
"""Numbers in the states of two heads."""
STATE_BYTES = 4 * (2 * STATE + 2)
"""The running state, that at the chunk's start, and a decay for each head, in float32."""
EMBEDDING = 11 * 12


@pytest.mark.parametrize("context", [1, 100, 10_000])
def test_softmax_keeps_every_token_and_linear_a_fixed_state(context: int) -> None:
    assert kv_bytes(small("softmax", "softmax"), {}, context) == 2 * 2 * PER_TOKEN * context
    assert kv_bytes(small("linear", "linear"), {}, context) == 2 * STATE_BYTES


def test_a_hybrid_keeps_its_own_chunk_the_softmax_ones_of_the_others_and_the_state() -> None:
    hybrid = small("token_hybrid", "linear", "token_hybrid")
    kept = (4 + 0.1 * 996) + (4 + 0.5 * 996)
    assert kv_bytes(hybrid, {0: 0.1, 2: 0.5}, 1000) == 2 * PER_TOKEN * kept + 3 * STATE_BYTES
    assert kv_bytes(hybrid, {0: 1.0, 2: 1.0}, 1000) == 2 * PER_TOKEN * 2000 + 3 * STATE_BYTES, (
        "never more than there is"
    )
    assert kv_bytes(hybrid, {0: 0.5, 2: 0.5}, 3) == 2 * PER_TOKEN * 6 + 3 * STATE_BYTES, "a chunk that is not full yet"


def held(architecture: Architecture, layer: Layer, route: Tensor) -> int:
    """Bytes that decoding holds in a layer when its last chunk is full; route [N, R], of its chunks."""
    a, heads = architecture, architecture.softmax_heads
    keys, values = a.linear_heads * a.key_dim // heads, a.linear_heads * a.value_dim // heads
    cache = softmax_decode.empty_cache(
        1, heads, a.routing_heads, keys, values, chunk_size=layer.chunk_size, dtype=torch.bfloat16
    )
    state = linear_decode.initial_linear_state(1, a.linear_heads, a.key_dim, a.value_dim)
    for number, chunk in enumerate(route):
        if number:
            cache = softmax_decode.close_chunk(cache, route[number - 1][None])
            state = linear_decode.close_chunk(state, route[number - 1][None])
        for _ in chunk.new_empty(layer.chunk_size):
            q, v = torch.randn(1, heads, keys), torch.randn(1, heads, values)
            _, cache = softmax_decode.chunk_softmax_attention_step(q, q, v, cache)
            q, v = torch.randn(1, a.linear_heads, a.key_dim), torch.randn(1, a.linear_heads, a.value_dim)
            g = -torch.ones(1, a.linear_heads)
            _, state = linear_decode.gated_delta_rule_step(q, q, v, g, -g, state)
    k, v = torch.randn(1, 1, heads, keys), torch.randn(1, 1, heads, values)
    window = window_decode.window_cache_of_prefill(k, v, window=a.window, dtype=torch.bfloat16)
    for _ in range(1, len(route) * layer.chunk_size):
        q, v = torch.randn(1, heads, keys), torch.randn(1, heads, values)
        _, window = window_decode.window_attention_step(q, q, v, window)
    own = {
        "softmax": softmax_decode.bytes_in_use(cache),
        "linear": sum(x.numel() * x.element_size() for x in state),
        "window": window_decode.bytes_in_use(window),
    }
    return sum(own[operation] for operation in layer.operations)


@pytest.mark.parametrize("chunk_size", [4, 8])
@pytest.mark.parametrize("mixer", MIXERS)
def test_kv_bytes_are_those_that_decoding_holds(mixer: str, chunk_size: int) -> None:
    chunks, layer = 12, Layer(mixer, chunk_size)
    architecture = small(mixer, chunk_size=chunk_size)
    route = torch.ones(chunks, 2) if mixer == "softmax" else (torch.rand(chunks, 2) < 0.4).float()
    share = route[:-1].mean().item()  # the last chunk runs, whatever its route will be
    counted = kv_bytes(architecture, {0: share}, chunks * chunk_size)
    assert counted == held(architecture, layer, route)
    assert share > 0
    assert mixer == "softmax" or share < 1


@pytest.mark.parametrize("mixer", MIXERS)
def test_weights_that_multiply_a_token_are_the_parameters_but_the_embedding(mixer: str) -> None:
    architecture = small(mixer, mixer)
    states = 2 * 6 * STATE * ("linear" in architecture.layers[0].operations)
    weights = flops_per_token(architecture, {}, 0) - states
    assert weights == 2 * (count_parameters(LanguageModel(architecture)) - EMBEDDING)


def test_parameters_count_a_tied_head_once() -> None:
    tied, untied = (LanguageModel(small(tie_embeddings=tie)) for tie in (True, False))
    assert count_parameters(untied) == sum(weight.numel() for weight in untied.parameters())
    assert count_parameters(untied) - count_parameters(tied) == EMBEDDING
    assert flops_per_token(tied.architecture, {0: 0.2}, 500) == flops_per_token(untied.architecture, {0: 0.2}, 500)


def test_rotary_positions_cost_no_parameters() -> None:
    plain, rotary = (LanguageModel(small(rope_base=base)) for base in (None, 10000.0))
    assert count_parameters(plain) == count_parameters(rotary)
    assert flops_per_token(plain.architecture, {}, 500) == flops_per_token(rotary.architecture, {}, 500)
    assert products(plain, 64) == products(rotary, 64)


def test_a_log_n_temperature_costs_a_parameter_for_each_softmax_head() -> None:
    plain, scaled = (LanguageModel(small("softmax", "window", "linear", log_n=log_n)) for log_n in (False, True))
    assert count_parameters(scaled) - count_parameters(plain) == 2 * 4
    difference = flops_per_token(scaled.architecture, {}, 500) - flops_per_token(plain.architecture, {}, 500)
    assert difference == 2 * 2 * 4


def test_each_feature_of_a_router_costs_a_row_of_weights() -> None:
    mean, three = (LanguageModel(small("token_hybrid", router_features=read)) for read in ("mean", "mean+max+last"))
    assert count_parameters(three) - count_parameters(mean) == 2 * 2 * 2 * mean.architecture.width
    difference = flops_per_token(three.architecture, {}, 500) - flops_per_token(mean.architecture, {}, 500)
    assert difference == 2 * 2 * 2 * 2 * mean.architecture.width


def test_flops_are_weights_visible_keys_and_states() -> None:
    context, per_key = 1000, 2 * PER_TOKEN
    at = {
        mixer: flops_per_token(small(mixer), {0: 0.1}, context) - flops_per_token(small(mixer), {0: 0.1}, 0)
        for mixer in MIXERS
    }
    assert at == {
        "softmax": per_key * context,
        "linear": 0,
        "window": per_key * 6,
        "token_hybrid": pytest.approx(per_key * (4 + 0.1 * 996)),
    }


def products(model: LanguageModel, length: int, backward: bool = False) -> dict[str, int]:
    """FLOPs that PyTorch counts in a pass over one sequence, by kind of operator."""
    tokens = torch.zeros(1, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # others are not counted on a CPU
        loss = model(tokens, learnt).logits.sum()
        if backward:
            loss.backward()
    found: dict[str, int] = {}
    for operator, flops in counter.get_flop_counts()["Global"].items():
        name = str(operator)
        kind = "tokens" if "bmm" in name else "convolutions" if "convolution" in name else "weights"
        found[kind] = found.get(kind, 0) + flops
    return found


@pytest.mark.parametrize("length", [64, 192])
@pytest.mark.parametrize("mixer", MIXERS)
def test_a_forward_pass_multiplies_with_the_weights_as_often_as_counted(mixer: str, length: int) -> None:
    """PyTorch counts matrices, not the vectors of norms and biases; a router sees one mean a chunk."""
    model = LanguageModel(small(mixer, mixer))
    vectors = sum(p.numel() for p in model.parameters() if p.ndim == 1)
    routers = sum(p.numel() for name, p in model.named_parameters() if name.endswith("router.score.weight"))
    states = 2 * 6 * STATE * ("linear" in model.architecture.layers[0].operations)
    weights = length * (flops_per_token(model.architecture, {}, 0) - states - 2 * vectors)
    computed = products(model, length)
    assert computed["weights"] + computed["convolutions"] == weights - 2 * routers * (length - length // 4)


@pytest.mark.parametrize("mixer", MIXERS)
def test_training_multiplies_with_the_weights_three_times_as_often(mixer: str) -> None:
    """Of convolutions PyTorch counts the backward pass as if every channel saw all others."""
    model = LanguageModel(small(mixer, mixer))
    assert products(model, 64, backward=True)["weights"] == 3 * products(model, 64)["weights"]


def attention_flops(length: int) -> int:
    """What is counted for the keys that all tokens of a sequence see, each those up to itself."""
    return sum(
        flops_per_token(small("softmax"), {}, t) - flops_per_token(small("softmax"), {}, 0)
        for t in range(1, length + 1)
    )


@pytest.mark.parametrize("length", [64, 192])
def test_a_softmax_layer_computes_the_whole_square_of_which_half_is_visible(length: int) -> None:
    computed = products(LanguageModel(small("softmax")), length)["tokens"]
    assert attention_flops(length) == computed * (length + 1) / (2 * length)


@pytest.mark.parametrize("length", [64, 192, 320])
def test_a_routed_layer_computes_blocks_of_64_queries(length: int) -> None:
    """Beyond what is visible: the upper triangle of each block of the diagonal, and what linear attention takes."""
    hybrid, linear = (products(LanguageModel(small(mixer)), length)["tokens"] for mixer in ("token_hybrid", "linear"))
    unseen = 2 * PER_TOKEN * 64 * 63 // 2 * (length // 64)
    assert hybrid - linear == attention_flops(length) + unseen


def test_a_linear_layer_takes_as_long_for_each_token() -> None:
    model = LanguageModel(small("linear"))
    assert products(model, 192)["tokens"] == 3 * products(model, 64)["tokens"]


def test_a_step_of_decoding_attends_to_as_many_keys_as_counted() -> None:
    """The last token of a chunk, where each list of kept chunks is as long as the others, so that none is padded."""
    route = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    context, share = 4 * (len(route) + 1), route.mean().item()
    cache = softmax_decode.empty_cache(1, 4, 2, 2, 3, chunk_size=4)
    q, v = torch.randn(1, 4, 2), torch.randn(1, 4, 3)
    for token in range(1, context):
        _, cache = softmax_decode.chunk_softmax_attention_step(q, q, v, cache)
        if token % 4 == 0:
            cache = softmax_decode.close_chunk(cache, route[token // 4 - 1][None])
    with FlopCounterMode(display=False) as counter:
        softmax_decode.chunk_softmax_attention_step(q, q, v, cache)
    architecture = small("token_hybrid")
    counted = flops_per_token(architecture, {0: share}, context) - flops_per_token(architecture, {0: share}, 0)
    assert counter.get_total_flops() == counted


def test_a_step_of_decoding_reads_the_state_twice_and_writes_it_once() -> None:
    """Two of the three products are matrix products, which PyTorch counts; the write is an outer product."""
    state = linear_decode.initial_linear_state(1, 2, 4, 6)
    q, v, g = torch.randn(1, 2, 4), torch.randn(1, 2, 6), -torch.ones(1, 2)
    with FlopCounterMode(display=False) as counter:
        linear_decode.gated_delta_rule_step(q, q, v, g, -g, state)
    weights = 2 * (count_parameters(LanguageModel(small("linear"))) - EMBEDDING)
    counted = flops_per_token(small("linear"), {}, 100) - weights
    assert counter.get_total_flops() == counted * 2 / 3


CHUNKS = (Layer("token_hybrid", 4), Layer("token_hybrid", 8))
SPACES = {
    "layers": ((Layer("softmax", 4), Layer("linear", 4), CHUNKS[0]),) * 3,
    "chunks": (CHUNKS, (Layer("linear", 4),), CHUNKS),
    "routers": ((CHUNKS[0],), (Layer("linear", 4),), (CHUNKS[0],)),
    "joint": ((Layer("linear", 4), *CHUNKS), (Layer("softmax", 4), CHUNKS[1]), (Layer("softmax", 4),)),
}
CONTEXT = 100


@pytest.fixture(params=[f"{name}-{resource}" for name in SPACES for resource in UNITS])
def cost(request: pytest.FixtureRequest) -> SpaceCost:
    name, resource = request.param.split("-")
    return cost_of(resource, Space(name, small(*["linear"] * 3), SPACES[name]), CONTEXT)


def by_architecture(cost: SpaceCost, code: Code, shares: list[float]) -> float:
    """A cost in the resource's unit, from the architecture alone."""
    architecture = cost.space.decode(code)
    by_layer = dict(enumerate(shares))
    if cost.resource == SOFTMAX_SHARE:
        counted = sorted({*cost.space.choosing, *cost.space.routed})
        used = {"softmax": 1.0, "linear": 0.0}
        return sum(used.get(architecture.mixers[layer], shares[layer]) for layer in counted) / len(counted)
    if cost.latencies is not None:
        layers = architecture.layers
        return cost.latencies.rest_ms + sum(
            cost.latencies.line(layer).at(share) for layer, share in zip(layers, shares, strict=True)
        )
    count = {KV_BYTES: kv_bytes, FLOPS: flops_per_token}[cost.resource]
    return count(architecture, by_layer, CONTEXT)


def extremes(cost: SpaceCost) -> Iterator[tuple[float, Code, float]]:
    """Every architecture with nothing and with everything routed to softmax: cost, code, share."""
    for code, share in itertools.product(cost.space.codes(), (0.0, 1.0)):
        yield by_architecture(cost, code, [share] * 3), code, share


def test_the_reachable_range_is_that_of_all_architectures(cost: SpaceCost) -> None:
    every = list(extremes(cost))
    assert (cost.least, cost.most) == pytest.approx((min(every)[0], max(every)[0]))
    assert by_architecture(cost, cost.cheapest, [0.0] * 3) == pytest.approx(cost.least)
    assert by_architecture(cost, cost.densest, [1.0] * 3) == pytest.approx(cost.most)


def table(rows: list[list[float]]) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.float64) for row in rows], batch_first=True)


def test_the_expected_cost_is_the_mean_over_all_architectures(cost: SpaceCost) -> None:
    drawn = random.Random(0)
    weights = [torch.softmax(torch.tensor([drawn.gauss(0, 1) for _ in own]), 0).tolist() for own in cost.space.options]
    shares = [drawn.random() for _ in range(3)]  # the same in each option of a layer, as architectures have it
    mean = sum(
        by_architecture(cost, code, shares) * weights[0][code[0]] * weights[1][code[1]] * weights[2][code[2]]
        for code in cost.space.codes()
    )
    each = table([[share] * len(own) for share, own in zip(shares, cost.space.options, strict=True)])
    rounding = (
        0 if cost.resource in (SOFTMAX_SHARE, LATENCY) else 0.5
    )  # costs of architectures are whole bytes and FLOPs
    assert float(cost.expected(table(weights), each)) * cost.most == pytest.approx(mean, abs=rounding + 1e-6)


def test_the_gradient_of_the_expected_cost_is_right(cost: SpaceCost) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [len(own) for own in cost.space.options]
    logits, shares = (
        torch.randn(sum(lengths), generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )

    def expected(logits: Tensor, shares: Tensor) -> Tensor:
        weights = pad_sequence([own.softmax(0) for own in logits.split(lengths)], batch_first=True)
        each = pad_sequence([own.sigmoid() for own in shares.split(lengths)], batch_first=True)
        return cost.expected(weights, each)

    assert torch.autograd.gradcheck(expected, (logits, shares))
    expected(logits, shares).backward()
    moved = logits.grad is not None and bool(logits.grad.abs().max() > 1e-3)
    assert moved == bool(cost.space.choosing)


@pytest.mark.parametrize("resource", [name for name in UNITS if name != LATENCY])
def test_only_routed_layers_cost_more_with_their_share(resource: str) -> None:
    for mixer in MIXERS:
        slope = line(resource, small(mixer), Layer(mixer, 4), CONTEXT).slope
        assert (slope > 0) == (mixer == "token_hybrid")


def test_a_search_costs_the_options_that_its_steps_compute() -> None:
    one = small("softmax", "token_hybrid", "linear")
    alone = search_flops_per_token(Space.of(one), lambda _: 1, 0.5, 200)
    assert alone == pytest.approx(training_flops_per_token(one, {1: 0.5}, 200))
    same, options = small(*["linear"] * 3), (Layer("softmax", 4), Layer("linear", 4))
    each = [training_flops_per_token(same.with_layers([option] * 3), {}, 200) for option in options]
    searched = Space("layers", same, (options,) * 3)
    mean, both = (search_flops_per_token(searched, lambda _, n=n: n, 0.5, 200) for n in (1, 2))  # type: ignore[misc]
    assert mean == pytest.approx(sum(each) / 2, abs=1)
    assert max(each) < both < sum(each), "projections and the MLP count once"
