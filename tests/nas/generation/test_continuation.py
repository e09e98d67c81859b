"""The text of a continuation as its tokens come."""

from pathlib import Path

import pytest

from nas.data.shards.vocabulary import Vocabulary
from nas.generation.continuation import IdContinuation, TextContinuation
from tests.nas.data.shards.written import TEXT, train_tokenizer


def parts(one: TextContinuation, tokens: list[int]) -> list[str]:
    """What each token makes certain until the end, and what is left then."""
    found = []
    for token in tokens:
        found.append(one.add(token))
        if one.finished:
            break
    return [*found, one.close()]


@pytest.mark.parametrize(
    ("given", "stop", "shown", "finished"),
    [
        ("aé三".encode(), None, ["a", "", "é", "", "", "三", ""], False),
        (b"a\xffb\xe4\xb8", None, ["a", "\ufffd", "b", "", "", "\ufffd"], False),
        (b"abc", "bc", ["a", "", "", ""], True),
        (b"ababc", "abc", ["", "", "ab", "", "", ""], True),
        (b"aab", "ab", ["", "a", "", ""], True),
        (b"xab", "abc", ["x", "", "", "ab"], False),
        ("xé".encode(), "é", ["x", "", "", ""], True),
        (b"ab\xe4", "b", ["a", "", ""], True),
    ],
)
def test_characters_come_whole_and_the_stop_text_never(
    given: bytes, stop: str | None, shown: list[str], finished: bool
) -> None:
    one = TextContinuation(Vocabulary.of_bytes(), stop)
    assert parts(one, list(given)) == shown
    assert one.finished == finished


def test_the_end_token_ends_a_text_and_unknown_ids_have_none() -> None:
    one = TextContinuation(Vocabulary.of_bytes())
    assert parts(one, [97, 300, 98, 256, 99]) == ["a", "", "b", "", ""]
    assert one.finished


def test_the_tokens_of_a_tokenizer_make_up_the_text(tmp_path: Path) -> None:
    vocabulary = Vocabulary.read(train_tokenizer(tmp_path / "tokenizer.json"))
    tokens = vocabulary.encode(TEXT.encode())
    assert len(tokens) < len(TEXT.encode())
    assert "".join(parts(TextContinuation(vocabulary), tokens)) == TEXT
    stopped = TextContinuation(vocabulary, stop="你好")
    assert "".join(parts(stopped, tokens)) == TEXT.partition("你好")[0]


def test_ids_stand_apart_until_the_id_that_ends_them() -> None:
    one = IdContinuation(stop=7)
    assert [one.add(token) for token in (3, 12, 7)] == ["3", " 12", ""]
    assert one.finished
    assert one.close() == ""
