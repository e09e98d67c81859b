"""The options of `nas.prepare` as composed: two kinds of tokenizers, each with its own options."""

from nas.options.preparing import BPEConfig, PrepareConfig, TokenizerConfig
from tests.nas.commands import composed

GIVEN = ("input=a", "output=b")


def test_each_tokenizer_has_its_own_options() -> None:
    usual = composed("prepare", *GIVEN)
    assert isinstance(usual, PrepareConfig)
    assert isinstance(usual.tokenizer, BPEConfig)
    assert usual.tokenizer.vocab_size == 16384
    assert composed("prepare", *GIVEN, "tokenizer=bytes").tokenizer == TokenizerConfig("bytes")
