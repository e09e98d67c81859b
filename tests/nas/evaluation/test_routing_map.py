"""The routing of one sequence: what a model decided, in chunks of one size, and who reads them."""

from pathlib import Path

import pytest
import torch

from nas.data import Batch, Task, build_task
from nas.evaluation.routing_map import routing_map
from nas.kernels import chunk_softmax_attention
from nas.models.language_model import LanguageModel
from nas.models.operations import find
from nas.models.policies import drop_all, keep_all, learnt, policy_of
from nas.models.routing import first_alone
from tests.nas.architectures import small
from tests.nas.commands import SEARCH, composed
from tests.nas.data.texts import text


@pytest.fixture
def task() -> Task:
    config = composed("search", *SEARCH)
    return build_task(config.data, config.seed)


def model(task: Task, *mixers: str, **changed: object) -> LanguageModel:
    """Whose routers tell chunks apart."""
    made = LanguageModel(small(*mixers, vocab_size=task.vocab_size, **changed))  # type: ignore[arg-type]
    for name, weight in made.named_parameters():
        if name.endswith("router.score.weight"):
            torch.nn.init.normal_(weight)
    return made


def test_it_shows_what_the_routers_decided_on_a_sequence(task: Task) -> None:
    routed = model(task, "token_hybrid", "linear")
    batch = task.validation_batches()[0]
    shown = routing_map(routed, task, learnt)
    assert shown is not None
    logits = routed(batch.tokens[:1], learnt).routing[0][0].logits[0].double()
    torch.testing.assert_close(torch.tensor(shown.layers[0], dtype=torch.float64), logits.softmax(-1)[..., 0].T)
    chosen = torch.tensor(shown.chosen[0]).T == 1
    assert chosen.equal(logits[..., 0] >= logits[..., 1])
    assert 0 < chosen.sum() < chosen.numel()
    assert shown.tokens == [task.token_text(token) for token in batch.tokens[0].tolist()]
    assert shown.decided_in == {0: 4}
    assert shown.readers == {}


def test_tokens_that_are_bytes_are_shown_as_characters(tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text("Größe 你好\n" * 100, encoding="utf-8")
    greeting = text(tmp_path / "greeting", length=45)
    shown = routing_map(model(greeting, "token_hybrid"), greeting, learnt)
    assert shown is not None
    assert len(shown.tokens) == 45
    assert "↵Größe·你好↵" in "".join(shown.tokens)


def test_layers_of_different_chunk_sizes_are_shown_in_chunks_of_one_size(task: Task) -> None:
    routed = model(task, "token_hybrid", "token_hybrid", chunk_sizes=(4, 6))
    tokens = task.validation_batches()[0].tokens[:1, :15]
    shown = routing_map(routed, task, learnt, batch=Batch(tokens, tokens, None), with_readers=True)
    assert shown is not None
    assert (shown.chunk_size, shown.chunks, shown.planted) == (2, 8, None)
    assert shown.decided_in == {0: 4, 1: 6}
    for layer, times in ((0, 2), (1, 3)):
        for head in [*shown.layers[layer], *shown.readers[layer]]:
            assert all(value == head[chunk // times * times] for chunk, value in enumerate(head))


def test_a_sequence_shorter_than_a_chunk_is_one_chunk(task: Task) -> None:
    tokens = task.validation_batches()[0].tokens[:1, :3]
    shown = routing_map(model(task, "token_hybrid"), task, learnt, batch=Batch(tokens, tokens, None), with_readers=True)
    assert shown is not None
    assert shown.chunks == 1
    assert shown.readers == {0: [[[]], [[]]]}


def test_nothing_is_shown_where_nothing_is_routed(task: Task) -> None:
    assert routing_map(model(task, "linear", "softmax"), task, learnt, with_readers=True) is None
    assert routing_map(model(task, "token_hybrid"), task, first_alone, with_readers=True) is None


def test_readers_are_those_of_the_attention_that_is_computed(task: Task) -> None:
    """Where every value is 1 in one chunk and 0 elsewhere, attention's output is what the chunk gets."""
    routed = model(task, "token_hybrid")
    tokens = task.validation_batches()[0].tokens[:1]
    shown = routing_map(routed, task, keep_all, with_readers=True)
    assert shown is not None
    block = routed.blocks[0]
    given = block.mixer.project(block.mixer_norm(routed.embedding(tokens)))
    q, k, _ = find("softmax").heads(block.mixer, given)
    value = torch.zeros(*q.shape[:3], 1)
    value[:, 8:12] = 1  # chunk 2
    got = chunk_softmax_attention(q, k, value, chunk_size=4)[0, :, :, 0]  # [T, heads]
    part = got[12:].unflatten(-1, (2, 2)).mean(-1)
    for head in range(2):
        most = part[:, head].topk(3)
        found = shown.readers[0][head][2]
        assert [reader.token for reader in found] == (most.indices + 12).tolist()
        assert [reader.weight for reader in found] == pytest.approx(most.values.tolist(), rel=1e-4)


def test_chunks_left_to_linear_attention_have_no_readers(task: Task) -> None:
    shown = routing_map(model(task, "token_hybrid"), task, drop_all, with_readers=True)
    assert shown is not None
    assert {len(chunk) for head in shown.readers[0] for chunk in head} == {0}


def test_where_a_routing_is_given_routers_have_no_say(task: Task) -> None:
    routed = model(task, "token_hybrid", given_routing="strided", given_share=0.5)
    shown = routing_map(routed, task, policy_of(routed.architecture))
    assert shown is not None
    assert shown.layers == shown.chosen == {0: [[0.0, 1.0] * 8] * 2}
