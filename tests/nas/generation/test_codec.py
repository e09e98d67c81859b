"""Which tasks have text for tokens."""

from types import SimpleNamespace

from nas.data.shards.vocabulary import Vocabulary
from nas.generation.codec import Bytes, encoding_of


def test_tokens_are_bytes_those_of_a_vocabulary_or_no_text() -> None:
    vocabulary = Vocabulary.of_bytes()
    assert isinstance(encoding_of(SimpleNamespace(token="byte")), Bytes)  # type: ignore[arg-type]
    assert encoding_of(SimpleNamespace(vocabulary=vocabulary)) is vocabulary  # type: ignore[arg-type]
    assert encoding_of(SimpleNamespace(vocabulary=None)) is None  # type: ignore[arg-type]
    assert encoding_of(SimpleNamespace()) is None  # type: ignore[arg-type]


def test_text_is_its_bytes() -> None:
    text = "für 三".encode() + b"\xff"
    assert Bytes().decode(Bytes().encode(text)) == text
