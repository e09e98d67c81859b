"""The tokenizer of bytes."""

import json

from tokenizers import Tokenizer

from nas.data.shards.vocabulary import Vocabulary
from nas.exporting.tokenizer import PAD, of_bytes


def tokenizer_of(vocab_size: int) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(of_bytes(Vocabulary.of_bytes(), vocab_size)))


def test_every_byte_is_its_token() -> None:
    tokenizer = tokenizer_of(256)
    text = "".join(map(chr, range(1, 2000)))
    assert tokenizer.encode(text).ids == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text


def test_the_token_behind_the_bytes_ends_a_text_or_is_padding() -> None:
    assert tokenizer_of(256).token_to_id(PAD) == 256
    assert tokenizer_of(257).token_to_id("<|endoftext|>") == 256
    assert tokenizer_of(257).token_to_id(PAD) is None
