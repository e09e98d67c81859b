"""Decoding: a prompt and then token by token gives what the model gives for the whole sequence."""

import itertools
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

from nas.budget.cost import kv_bytes
from nas.data.seeding import generator
from nas.models.decoding import Decoder, generate
from nas.models.language_model import LanguageModel
from nas.models.operations.linear import LinearMemory
from nas.models.operations.operation import Heads, Projected
from nas.models.operations.softmax import Softmax, SoftmaxMemory
from nas.models.policies import drop_all, keep_all, learnt, policy_of, randomly, strided
from nas.models.recording import Advance
from nas.models.routing import Policy, first_alone
from nas.search_spaces.architecture import Architecture
from nas.search_spaces.space import Space
from tests.nas.architectures import MIXERS, small

T = 14
"""Three whole chunks of four tokens, and a short one."""
EXACT = 1e-10


def model(architecture: Architecture) -> LanguageModel:
    """In float64, with weights so large that routes and logits differ from token to token."""
    made = LanguageModel(architecture).double()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def soft(layer: int, logits: Tensor) -> Tensor:
    """Fractional routes."""
    return logits.softmax(-1)


class Recorded:
    """A policy, and the weights [B, R, 2] that it gave each chunk when that was complete, by layer."""

    def __init__(self, policy: Policy, full: int) -> None:
        self._policy, self._full = policy, full
        self.weights: dict[int, list[Tensor]] = {}

    def __call__(self, layer: int, logits: Tensor) -> Tensor:
        weights = self._policy(layer, logits)
        if layer not in self.weights:
            self.weights[layer] = list(weights[:, : self._full].unbind(1))
        else:
            self.weights[layer].append(weights[:, -1])
        return weights

    def again(self, layer: int, logits: Tensor) -> Tensor:
        """The same for a whole sequence, whose last chunk may not be full, so that nothing depends on its route."""
        given = torch.stack(self.weights[layer], dim=1)
        return torch.cat([given, logits.softmax(-1)[:, given.shape[1] :]], dim=1)


def decoded(decoder: Decoder, tokens: Tensor, prompt: int) -> Iterator[Tensor]:
    """Logits at position prompt - 1 and every later one."""
    yield decoder.prefill(tokens[:, :prompt])
    for t in range(prompt, tokens.shape[1]):
        assert decoder.length == t
        yield decoder.step(tokens[:, t])


def assert_decodes(made: LanguageModel, tokens: Tensor, policy: Policy | None, prompt: int, off: float = EXACT) -> None:
    expected = made(tokens, policy).logits[:, prompt - 1 :]
    logits = torch.stack(list(decoded(Decoder(made, policy), tokens, prompt)), dim=1)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, expected, rtol=0, atol=off)


@pytest.mark.parametrize("rope_base", [None, 50.0], ids=["no positions", "rotary"])
@pytest.mark.parametrize("prompt", [1, 3, 4, 6, 8, 11])
@pytest.mark.parametrize("mixers", [("softmax",), ("linear",), ("token_hybrid",), MIXERS], ids=" ".join)
def test_a_prompt_and_steps_are_the_whole_sequence(
    mixers: tuple[str, ...], prompt: int, rope_base: float | None
) -> None:
    made = model(small(*mixers, *mixers, rope_base=rope_base))
    tokens = torch.randint(11, (3, T))
    assert_decodes(made, tokens, learnt, prompt)
    if "token_hybrid" in mixers:
        routes = [routing.weights[..., 0] for (routing,) in made(tokens, learnt).routing.values()]
        assert 0 < torch.stack(routes).mean() < 1


@pytest.mark.parametrize("mixers", [MIXERS, ("window",)], ids=" ".join)
def test_the_log_n_temperature_counts_from_the_start_of_the_sequence(mixers: tuple[str, ...]) -> None:
    made = model(small(*mixers, *mixers, log_n=True, window=4))
    for prompt in (1, 6):
        assert_decodes(made, torch.randint(11, (3, T)), learnt, prompt)


@pytest.mark.parametrize("mixer", ["linear", "token_hybrid"])
def test_negative_eigenvalues(mixer: str) -> None:
    made = model(small(mixer, mixer, negative_eigenvalues=True))
    for prompt in (1, 6):
        assert_decodes(made, torch.randint(11, (2, T)), learnt, prompt)


@pytest.mark.parametrize("policy", [soft, keep_all, drop_all, first_alone], ids=["soft", "keep", "drop", "first alone"])
def test_any_policy(policy: Policy | None) -> None:
    made = model(small("token_hybrid", "linear", "token_hybrid"))
    for prompt in (2, 4, 9):
        assert_decodes(made, torch.randint(11, (2, T)), policy, prompt)


@pytest.mark.parametrize("chunk_sizes", [(1, 1), (3, 5), (16, 2), (64, 64)], ids=str)
@pytest.mark.parametrize("mixer", MIXERS)
def test_any_chunk_size(mixer: str, chunk_sizes: tuple[int, ...]) -> None:
    made = model(small(mixer, mixer, chunk_sizes=chunk_sizes))
    for prompt in (1, 6):
        assert_decodes(made, torch.randint(11, (2, T)), learnt, prompt)


@pytest.mark.parametrize(
    "changed", [{"conv_size": 1}, {"conv_size": 6}, {"routing_heads": 1}, {"softmax_heads": 2}], ids=str
)
def test_any_sizes(changed: dict[str, int]) -> None:
    made = model(small(**changed))  # type: ignore[arg-type]
    for prompt in (1, 6):
        assert_decodes(made, torch.randint(11, (1, T)), learnt, prompt)


@pytest.mark.parametrize("prompt", [1, 4, 6])
def test_strided_routing_counts_the_chunks_of_the_whole_sequence(prompt: int) -> None:
    architecture = small("token_hybrid", "token_hybrid", given_routing="strided", given_share=0.4)
    policy = policy_of(architecture)
    assert_decodes(model(architecture), torch.randint(11, (2, 27)), policy, prompt)


@pytest.mark.parametrize("prompt", [1, 4, 6])
def test_random_routing_is_drawn_once_a_chunk(prompt: int) -> None:
    made, tokens = model(small("token_hybrid", "token_hybrid")), torch.randint(11, (2, 27))
    policy = Recorded(randomly(0.5, generator("test")), full=prompt // 4)
    logits = torch.stack(list(decoded(Decoder(made, policy), tokens, prompt)), dim=1)
    assert {layer: len(weights) for layer, weights in policy.weights.items()} == {0: 6, 1: 6}
    expected = made(tokens, policy.again).logits[:, prompt - 1 :]
    torch.testing.assert_close(logits, expected, rtol=0, atol=EXACT)


def test_new_prompts_begin_new_sequences() -> None:
    made, tokens = model(small()), torch.randint(11, (2, T))
    decoder = Decoder(made, learnt)
    first, second = (list(decoded(decoder, given, 5)) for given in (tokens, tokens[:1]))
    for logits, again in zip(first, second, strict=True):
        torch.testing.assert_close(logits[:1], again, rtol=0, atol=EXACT)


LENGTHS = (5, 1, 8, 8, 11)
"""Prompts that end inside a chunk of four tokens and at the end of one; two neighbours are equally long."""


def ragged(
    made: LanguageModel, steps: int, policy: Policy | None, device: str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits [steps + 1, vocab] of each of several prompts, decoded together and alone."""
    whole = torch.randint(11, (len(LENGTHS), max(LENGTHS) + steps), device=device)
    decoder = Decoder(made, policy)
    together = [decoder.prefill([sequence[:length] for sequence, length in zip(whole, LENGTHS, strict=True)])]
    for step in range(steps):
        assert decoder.lengths == [length + step for length in LENGTHS]
        together.append(decoder.step(torch.stack([whole[b, length + step] for b, length in enumerate(LENGTHS)])))
    alone = [
        torch.cat(list(decoded(Decoder(made, policy), whole[b : b + 1, : length + steps], length)))
        for b, length in enumerate(LENGTHS)
    ]
    return zip(torch.stack(together, dim=1), alone, strict=True)


@pytest.mark.parametrize(
    ("mixers", "policy", "recorded"),
    [
        (("softmax", "linear", "window"), learnt, False),
        (("softmax", "token_hybrid", "window"), learnt, True),
        (("token_hybrid", "linear", "token_hybrid"), soft, False),
        (("token_hybrid", "token_hybrid"), strided(0.4), True),
    ],
    ids=["alone", "learnt, recorded", "soft", "strided, recorded"],
)
def test_prompts_of_different_lengths_get_what_they_get_alone(
    mixers: tuple[str, ...], policy: Policy, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.models.decoding.StepGraph", Uncaptured)
    monkeypatch.setattr("nas.models.decoding._recordable", lambda token: recorded)
    made = model(
        small(
            *mixers, chunk_sizes=(4, 3, 5)[: len(mixers)], rope_base=50.0, log_n=True, router_features="mean+max+last"
        )
    )
    for together, alone in ragged(made, 13, policy):
        torch.testing.assert_close(together, alone, rtol=0, atol=EXACT)


def test_states_that_cannot_be_joined_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for memory in (LinearMemory, SoftmaxMemory):
        monkeypatch.delattr(memory, "join")
    for together, alone in ragged(model(small("token_hybrid", "linear", "window")), 9, learnt):
        torch.testing.assert_close(together, alone, rtol=0, atol=EXACT)


def test_a_list_of_equally_long_prompts_is_a_batch() -> None:
    made, tokens = LanguageModel(small()), torch.randint(11, (3, T))
    assert torch.equal(Decoder(made).prefill(tokens), Decoder(made).prefill(list(tokens)))
    first, second = (generate(made, given, 9, temperature=0) for given in (tokens, list(tokens)))
    assert torch.equal(first, second)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("prompt", [1, 8, 10])
def test_what_is_skipped_takes_no_memory(mixer: str, prompt: int) -> None:
    """In bfloat16 as it is counted; before the last token of a chunk, whose page is there as a whole."""
    chunks, made = 10, LanguageModel(small(mixer, mixer)).bfloat16()
    tokens = torch.randint(11, (2, 4 * chunks - 1))
    policy = Recorded(randomly(0.3, generator("test")), full=prompt // 4)
    decoder = Decoder(made, policy)
    list(decoded(decoder, tokens, prompt))
    routes = {layer: torch.stack(weights)[..., 0] for layer, weights in policy.weights.items()}
    shares = {layer: route.float().mean().item() for layer, route in routes.items()}
    assert decoder.bytes_in_use == 2 * kv_bytes(made.architecture, shares, 4 * chunks)
    assert all(route.shape == (chunks - 1, 2, 2) and 0.1 < route.float().mean() < 0.6 for route in routes.values())


def test_all_to_linear_needs_no_more_memory_however_long() -> None:
    made = LanguageModel(small("token_hybrid"))
    used = {}
    for (operation, policy), length in itertools.product({"softmax": keep_all, "linear": drop_all}.items(), (9, 41)):
        decoder = Decoder(made, policy)
        list(decoded(decoder, torch.randint(11, (1, length)), 5))
        used[operation, length] = decoder.bytes_in_use
    assert used["linear", 9] == used["linear", 41]
    assert used["softmax", 9] < used["softmax", 41]


@pytest.mark.parametrize("mixer", MIXERS)
def test_half_precision(mixer: str) -> None:
    """Under autocast and in bfloat16 alone: as near to float32 as a whole sequence is."""
    made, tokens = LanguageModel(small(mixer, mixer)), torch.randint(11, (2, T))
    policy = keep_all  # what is routed must not hang on rounding
    exact = made(tokens, policy).logits[:, 4:]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = torch.stack(list(decoded(Decoder(made, policy), tokens, 5)), dim=1)
    rounded = torch.stack(list(decoded(Decoder(made.bfloat16(), policy), tokens, 5)), dim=1)
    for logits in (mixed, rounded):
        assert (logits - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("prompt_mixed", [False, True], ids=["steps", "prompt"])
def test_autocast_may_change_between_prompt_and_steps(prompt_mixed: bool) -> None:
    """Steps round weights as their own autocast does, whatever that of the prompt."""
    made, tokens = LanguageModel(small()), torch.randint(11, (2, T))
    exact, decoder = made(tokens, keep_all).logits[:, 4:], Decoder(made, keep_all)
    with torch.autocast("cpu", torch.bfloat16, enabled=prompt_mixed):
        logits = [decoder.prefill(tokens[:, :5])]
    with torch.autocast("cpu", torch.bfloat16, enabled=not prompt_mixed):
        logits += [decoder.step(token) for token in tokens[:, 5:].unbind(1)]
    assert logits[-1].dtype == (torch.float32 if prompt_mixed else torch.bfloat16)
    assert (torch.stack(logits, dim=1) - exact).abs().max() < 0.05 * exact.abs().max()


def test_generating_greedily_takes_the_most_probable_token() -> None:
    made, prompt = model(small()), torch.randint(11, (2, 5))
    generated = generate(made, prompt, 9, learnt, temperature=0)
    assert generated.shape == (2, 9)
    whole = torch.cat([prompt, generated], dim=1)
    assert torch.equal(generated, made(whole[:, :-1], learnt).logits.argmax(-1)[:, 4:])


def test_sampling_follows_the_distribution_and_the_generator() -> None:
    made, prompt = model(small()), torch.randint(11, (1, 5))
    prompts = prompt.expand(4000, 5)
    drawn = generate(made, prompts, 1, learnt, temperature=2.0, generator=generator("test"))
    expected = (made(prompt, learnt).logits[0, -1] / 2).softmax(-1)
    frequencies = drawn.flatten().bincount(minlength=11) / 4000
    torch.testing.assert_close(frequencies.double(), expected, rtol=0, atol=0.03)
    first, second = (generate(made, prompt, 8, learnt, generator=generator("test")) for _ in range(2))
    assert torch.equal(first, second)


def test_what_cannot_be_decoded() -> None:
    made, tokens = LanguageModel(small()), torch.randint(11, (2, 5))
    with pytest.raises(ValueError, match="call prefill with their prompts first"):
        Decoder(made, learnt).step(tokens[:, 0])
    with pytest.raises(ValueError, match=r"^tokens has ids from -?\d+ to \d+; .* from 0 to 10"):
        Decoder(made, learnt).prefill([tokens[0], tokens[0, :3] + 11])
    decoder = Decoder(made, learnt)
    decoder.prefill(tokens)
    for token, reason in (([1, 2], "a tensor of ids"), (tokens, "one id per sequence"), (tokens[:1, 0], r"\[2\]")):
        with pytest.raises(ValueError, match=f"^token .*{reason}"):
            decoder.step(token)
    temperatures = (-1.0, float("nan"), float("inf"))
    wrong = [{"count": 0}, {"count": 2.5}, *({"count": 2, "temperature": value} for value in temperatures)]
    for options in wrong:
        option, value = list(options.items())[-1]
        with pytest.raises(ValueError, match=f"^{option}={value} is not allowed"):
            generate(made, tokens, policy=learnt, **options)
    layers = tuple((small("softmax").layers[0], small("linear").layers[0]) for _ in range(3))
    space = Space("test", small(), layers)
    with pytest.raises(ValueError, match="from its method inherit"):
        Decoder(LanguageModel(space.sizes, options=space.options), learnt)


def test_a_step_without_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the second layer, with two heads in a page, cannot grow twice; then there is memory again."""
    made, tokens = model(small("softmax", "token_hybrid", chunk_size=2)), torch.randint(11, (2, 40))
    expected = list(decoded(Decoder(made, keep_all), tokens, 5))
    concatenated, refused = torch.cat, list[tuple[int, str]]()

    def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
        pool = tensors[0]
        if pool.ndim == 4 and len(pool) > 4 and pool.shape[1] == 2 and len(refused) < 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return concatenated(tensors, dim)

    monkeypatch.setattr(torch, "cat", cat)
    decoder = Decoder(made, keep_all)
    logits = [decoder.prefill(tokens[:, :5])]
    while decoder.length < 40:
        try:
            logits.append(decoder.step(tokens[:, decoder.length]))
        except ValueError as error:
            refused.append((decoder.length, str(error)))
    (length, message), (again, _) = refused
    assert length == again
    assert (length + 1) % 2 == 0
    assert "the KV cache cannot grow from" in message
    assert all(map(torch.equal, logits, expected))


def test_a_batch_without_memory_is_processed_prompt_by_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    made, tokens = model(small("softmax", "token_hybrid")), torch.randint(11, (3, T))
    expected = list(decoded(Decoder(made), tokens, 5))
    attend, refused = Softmax.heads_of, []

    def heads_of(self: Softmax, mixer: nn.Module, given: Projected, *normalised: Any) -> Heads:
        if given.x.shape[:2] == (3, 5):
            refused.append(given)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return attend(self, mixer, given, *normalised)

    monkeypatch.setattr(Softmax, "heads_of", heads_of)
    for logits, at_once in zip(decoded(Decoder(made), tokens, 5), expected, strict=True):
        torch.testing.assert_close(logits, at_once, rtol=0, atol=EXACT)
    assert len(refused) == 1


def test_prompts_without_memory_leave_the_decoder_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that lacks memory for a long prompt: one sentence, and then other sequences."""
    made, tokens = model(small("softmax", "linear")), torch.randint(11, (2, 20))
    attend = Softmax.heads

    def heads(self: Softmax, mixer: nn.Module, given: Projected, start: int | Tensor = 0) -> Heads:
        if given.x.shape[1] > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return attend(self, mixer, given, start)

    monkeypatch.setattr(Softmax, "heads", heads)
    decoder = Decoder(made)
    needed = kv_bytes(made.architecture, {}, 20) + kv_bytes(made.architecture, {}, 5)
    given = f"tokens has a batch of 2 with up to 20 tokens each, .* take up to {needed / 2**30:.2f} GiB in bfloat16"
    with pytest.raises(ValueError, match=f"^{given}.*give fewer or shorter prompts") as error:
        decoder.prefill([tokens[0, :5], tokens[1]])
    assert error.value.__context__ is None, "it would keep what was computed in memory"
    assert decoder.lengths == []
    with pytest.raises(ValueError, match="call prefill"):
        decoder.step(tokens[:, 0])
    for logits, expected in zip(
        decoded(decoder, tokens[:, :9], 5), decoded(Decoder(made), tokens[:, :9], 5), strict=True
    ):
        assert torch.equal(logits, expected)


def test_new_sequences_are_continued_with_the_present_weights() -> None:
    made, tokens = model(small()), torch.randint(11, (2, T))
    decoder = Decoder(made)
    list(decoded(decoder, tokens, 5))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(0.9)
    assert all(map(torch.equal, decoded(decoder, tokens, 5), decoded(Decoder(made), tokens, 5)))


class Uncaptured:
    """Stands in for `nas.models.recording.StepGraph`: computes again, from fixed buffers."""

    made = 0

    def __init__(self, advance: Advance, token: Tensor) -> None:
        type(self).made += 1
        self._advance, self._token = advance, token.clone()

    def fits(self, token: Tensor) -> bool:
        return token.shape == self._token.shape

    def __call__(self, token: Tensor) -> Tensor:
        self._token.copy_(token)
        return self._advance(self._token)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("rope_base", [None, 10000.0], ids=["no positions", "rotary"])
def test_recorded_steps_give_what_the_model_gives(
    mixer: str, rope_base: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.models.decoding.StepGraph", Uncaptured)
    monkeypatch.setattr("nas.models.decoding._recordable", lambda token: True)
    monkeypatch.setattr(Uncaptured, "made", 0)
    made, tokens = model(small(mixer, mixer, rope_base=rope_base)), torch.randint(11, (2, 30))
    policy = policy_of(made.architecture)
    logits = torch.stack(list(decoded(Decoder(made, policy), tokens, 3)), dim=1)
    assert Uncaptured.made > 0
    torch.testing.assert_close(logits, made(tokens, policy).logits[:, 2:], rtol=0, atol=EXACT)


def test_a_step_that_cannot_be_recorded_is_computed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> NoReturn:
        raise RuntimeError("not permitted\nmore")

    monkeypatch.setattr("nas.models.decoding.StepGraph", fails)
    monkeypatch.setattr("nas.models.decoding._recordable", lambda token: True)
    made, tokens = model(small("linear")), torch.randint(11, (2, 12))
    logits = torch.stack(list(decoded(Decoder(made, None), tokens, 3)), dim=1)
    torch.testing.assert_close(logits, made(tokens).logits[:, 2:], rtol=0, atol=EXACT)
    warned = "decoding continues without CUDA graphs, which is slower: not permitted"
    assert capsys.readouterr().err == f"warning: {warned}\n"


@pytest.mark.gpu
@pytest.mark.parametrize("rope_base", [None, 10000.0], ids=["no positions", "rotary"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_decoding_on_the_gpu(mixer: str, rope_base: float | None) -> None:
    """With Triton's kernels, against the whole sequence in float64."""
    sizes = {"width": 64, "key_dim": 64, "value_dim": 64, "softmax_heads": 2, "mlp_width": 64, "chunk_size": 16}
    made = LanguageModel(small(mixer, mixer, rope_base=rope_base, **sizes)).cuda()
    tokens, policy = torch.randint(11, (2, 75), device="cuda"), policy_of(made.architecture)
    if mixer == "token_hybrid":
        given = randomly(0.5, torch.Generator("cuda").manual_seed(0))(0, torch.zeros(2, 5, 2, 2, device="cuda"))
        policy = lambda layer, logits: given[:, : logits.shape[1]].to(logits)  # noqa: E731
    for prompt in (1, 16, 40):
        logits = torch.stack(list(decoded(Decoder(made, policy), tokens, prompt)), dim=1)
        with torch.autocast("cuda", torch.bfloat16):
            mixed = torch.stack(list(decoded(Decoder(made, policy), tokens, prompt)), dim=1)
        exact = made.double()(tokens, policy).logits[:, prompt - 1 :]
        made.float()
        assert (logits - exact).abs().max() < 1e-4 * exact.abs().max()
        assert (mixed - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("mixer", MIXERS)
def test_prompts_of_different_lengths_on_the_gpu(mixer: str) -> None:
    """Over growing caches: by Triton's kernels in recorded steps, and alone, which other tests hold against float64."""
    sizes = {"width": 64, "key_dim": 64, "value_dim": 64, "softmax_heads": 2, "mlp_width": 64, "chunk_sizes": (16, 32)}
    made = LanguageModel(small(mixer, mixer, rope_base=10000.0, **sizes)).cuda()
    for together, alone in ragged(made, 150, strided(0.5), "cuda"):
        torch.testing.assert_close(together, alone, rtol=0, atol=2e-4 * float(alone.abs().max()))


@pytest.mark.gpu
def test_prompts_longer_than_the_memory_of_the_gpu() -> None:
    """A process that may use 64 MiB more: a prompt of 2**20 tokens is refused, and a short one follows."""
    made, tokens = LanguageModel(small("softmax", width=64)).cuda(), torch.randint(11, (1, 2**20), device="cuda")
    decoder = Decoder(made)
    expected = decoder.prefill(tokens[:, :50])
    torch.cuda.empty_cache()
    most = torch.cuda.memory_reserved() + 2**26
    try:
        torch.cuda.set_per_process_memory_fraction(most / torch.cuda.get_device_properties(0).total_memory)
        with pytest.raises(ValueError, match=r"batch of 1 with up to 1048576 tokens .* GiB of the GPU are free"):
            decoder.prefill(tokens)
        torch.testing.assert_close(decoder.prefill(tokens[:, :50]), expected)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.gpu
@pytest.mark.parametrize("mixer", ["softmax", "linear", "token_hybrid", "window"])
def test_a_recorded_step_gives_what_a_computed_one_gives(mixer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several ends of chunks, and over growing caches, after which the step is recorded again."""
    sizes = {"width": 64, "key_dim": 64, "value_dim": 64, "softmax_heads": 2, "mlp_width": 64, "chunk_size": 16}
    made = LanguageModel(small(mixer, mixer, rope_base=10000.0, **sizes)).cuda()
    tokens = torch.randint(11, (2, 200), device="cuda")
    recorded, computed = Decoder(made, None), Decoder(made, None)
    graphs = []
    for decoder in (recorded, computed):
        decoder.prefill(tokens[:, :5])
    for token in tokens[:, 5:].unbind(1):
        logits = recorded.step(token)
        with monkeypatch.context() as patch:
            patch.setattr("nas.models.decoding._recordable", lambda token: False)
            torch.testing.assert_close(logits, computed.step(token))
        graphs.append(recorded._graph)
    assert graphs[0] is None, "kernels are compiled first"
    assert graphs[1] is not None
    assert sum(graph is not None for graph in graphs) > 150
    assert (len({id(graph) for graph in graphs if graph is not None}) > 1) == (mixer in ("softmax", "token_hybrid"))
