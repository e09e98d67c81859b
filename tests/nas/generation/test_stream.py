"""Generation: batches of prompts, the end of each text, and the figures of speed."""

import pytest
import torch

from nas.generation.continuation import IdContinuation
from nas.generation.sampling import Sampler
from nas.generation.stream import Speed, generate
from nas.models.decoding import Decoder
from nas.models.decoding import generate as reference
from nas.models.language_model import LanguageModel
from tests.nas.architectures import small

PROMPTS = [[1, 2, 3, 4, 5], [5, 4, 3], [1, 2, 3, 4, 5], [7]]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(small()).eval()
    torch.nn.init.normal_(made.head.weight)  # so that tokens differ in probability
    return made


def continued(
    model: LanguageModel, prompts: list[list[int]], temperature: float, count: int = 9, stop: int | None = None
) -> tuple[list[list[int]], Speed]:
    """The continuations of prompts, and the speed."""
    texts, rows = [""] * len(prompts), [IdContinuation(stop) for _ in prompts]

    def show(row: int, text: str) -> None:
        texts[row] += text

    sampler, device = Sampler(prompts, temperature, 0.9, seed=3), model.embedding.weight.device
    speed = generate(Decoder(model), prompts, sampler, rows, count, device, show)
    return [[int(word) for word in text.split()] for text in texts], speed


def test_a_row_has_the_same_text_alone_and_in_a_batch(model: LanguageModel) -> None:
    together, speed = continued(model, PROMPTS, 1.0)
    assert [continued(model, [prompt], 1.0)[0][0] for prompt in PROMPTS[:2]] == together[:2]
    assert together[2] != together[0]
    assert continued(model, PROMPTS, 1.0)[0] == together
    assert (speed.prompt_tokens, speed.tokens) == (14, 36)


def test_a_temperature_of_0_is_greedy_and_a_stop_ends_each_row_by_itself(model: LanguageModel) -> None:
    greedy, _ = continued(model, PROMPTS, 0.0)
    expected = reference(model, [torch.tensor(prompt) for prompt in PROMPTS], 9, temperature=0.0).tolist()
    assert greedy == expected
    stop = greedy[0][4]
    cut = [row[: row.index(stop)] if stop in row else row for row in greedy]
    assert cut != greedy
    assert continued(model, PROMPTS, 0.0, stop=stop)[0] == cut


def test_the_speed_is_told_in_one_line() -> None:
    told = "prompt: 1,000 tokens, 2,000 tokens/s; generation: 11 tokens, 40 tokens/s"
    assert str(Speed(1000, 0.5, 11, 10, 0.25)) == told
    assert str(Speed(1, 0.5, 1, 0, 0.0)) == "prompt: 1 token, 2 tokens/s; generation: 1 token"


@pytest.mark.gpu
def test_prompts_of_different_lengths_are_continued_on_the_gpu() -> None:
    """By recorded steps, over several ends of chunks, twice alike."""
    torch.manual_seed(0)
    sizes = {"width": 64, "key_dim": 64, "value_dim": 64, "softmax_heads": 2, "mlp_width": 64, "chunk_size": 16}
    made = LanguageModel(small("token_hybrid", "linear", **sizes)).cuda()
    torch.nn.init.normal_(made.head.weight)
    texts, speed = continued(made, PROMPTS, 1.0, count=70)
    assert [len(text) for text in texts] == [70] * 4
    assert (speed.tokens, speed.timed_tokens) == (280, 268)
    assert continued(made, PROMPTS, 1.0, count=70)[0] == texts
