"""The tokenizer of a folder: trained on training text alone, or the given one."""

from pathlib import Path

import pytest

from nas.data.shards.vocabulary import END, Vocabulary
from nas.errors import UserError
from nas.options.preparing import BPEConfig, TokenizerConfig
from nas.preparing.pieces import plan
from nas.preparing.tokenizer import given_path, train
from nas.preparing.unit import Settings, part_of
from tests.nas.data.shards.written import train_tokenizer
from tests.nas.preparing.preparing import config, write


def test_a_tokenizer_learns_from_training_text_of_all_units(tmp_path: Path) -> None:
    texts = [f"word{chr(97 + number) * 9} ".encode() * 400 for number in range(20)]
    corpus = write(tmp_path / "corpus", {f"{number:02}.txt": text for number, text in enumerate(texts)})
    units = plan(config(corpus, tmp_path, shard_bytes=9000)).units
    settings = Settings(str(corpus), "text", 0.3, str(tmp_path))
    (tmp_path / "tokenizer.json").write_text(train(settings, units, 2000, 80_000, "<end>"))
    vocabulary = Vocabulary.read(tmp_path / "tokenizer.json", "<end>")
    assert vocabulary.end == 0
    lengths = {part_of(text, 0.3): set() for text in texts}
    for text in texts:
        lengths[part_of(text, 0.3)].add(len(vocabulary.encode(text)) / 400)
    assert max(lengths["train"]) < 1.1
    assert min(lengths["validation"]) > 2


def test_names_of_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus", {"a.txt": f"a{END}b ".encode() * 50})
    units = plan(config(corpus, tmp_path)).units
    (tmp_path / "t.json").write_text(train(Settings(str(corpus), "text", 0.0, ""), units, 300, 999, None))
    vocabulary = Vocabulary.read(tmp_path / "t.json")
    assert vocabulary.end not in vocabulary.encode(f"a{END}b".encode())


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (TokenizerConfig("words"), r"tokenizer\.name=words is unknown"),
        (BPEConfig("bpe", path="nowhere.json", vocab_size=300, sample_bytes=1), r"tokenizer\.path=nowhere\.json is no"),
    ],
    ids=["name", "path"],
)
def test_a_tokenizer_that_does_not_exist_is_refused(tokenizer: TokenizerConfig, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        given_path(config(tmp_path, tmp_path, tokenizer=tokenizer))


def test_the_given_tokenizer_needs_an_end_token(tmp_path: Path) -> None:
    path = str(train_tokenizer(tmp_path / "given.json"))
    given = BPEConfig("bpe", path=path, end="<none>", vocab_size=300, sample_bytes=1)
    with pytest.raises(UserError, match="has no token <none>"):
        given_path(config(tmp_path, tmp_path, tokenizer=given))
