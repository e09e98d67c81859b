"""The vocabulary of a tokenizer: every byte comes back, and the text of every token can be shown."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.data.shards.vocabulary import END, Vocabulary, token_texts, vocabulary_of
from nas.errors import UserError
from tests.nas.data.shards.written import TEXT, train_tokenizer, with_begin, write_fallback_tokenizer

TEXTS = {
    "plain": TEXT.encode(),
    "invalid": b"a\xff\xfe b " + "三".encode()[:2] + b" c\xc3",
    "special": f"x{END}y".encode(),
    "zero": b"\0\x01\x7f",
    "denormalised": "e\u0301 \u2126".encode(),
    "empty": b"",
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return Vocabulary.read(write_fallback_tokenizer(tmp_path_factory.mktemp("fallback") / "tokenizer.json"))


@pytest.fixture(params=["bytes", "bpe", "fallback"])
def vocabulary(request: pytest.FixtureRequest, tokenizer: Path) -> Vocabulary:
    if request.param == "fallback":
        found: Vocabulary = request.getfixturevalue("fallback")
        return found
    return Vocabulary.of_bytes() if request.param == "bytes" else Vocabulary.read(tokenizer)


@pytest.mark.parametrize("name", TEXTS)
def test_every_byte_comes_back(name: str, vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode(TEXTS[name])
    assert vocabulary.decode(tokens) == TEXTS[name]
    assert vocabulary.byte_lengths[tokens].sum() == len(TEXTS[name])
    assert vocabulary.end not in tokens
    assert vocabulary.byte_lengths.shape == (vocabulary.size,)


def test_bytes_are_their_own_tokens() -> None:
    vocabulary = Vocabulary.of_bytes()
    assert (vocabulary.size, vocabulary.end) == (257, 256)
    assert vocabulary.encode(b"a\xff") == [97, 255]


def test_merged_tokens_are_shown_with_visible_white_space(tokenizer: Path) -> None:
    vocabulary = Vocabulary.read(tokenizer)
    tokens = vocabulary.encode(b"    return argv\n")
    assert len(tokens) < 16
    assert "".join(vocabulary.texts(tokens)) == "····return·argv↵"


@pytest.mark.parametrize("name", ["plain", "invalid", "zero"])
def test_texts_of_tokens_make_up_the_text(name: str, vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode(TEXTS[name])
    assert len(vocabulary.texts(tokens)) == len(tokens)
    assert "".join(vocabulary.texts(tokens)) == "".join(Vocabulary.of_bytes().texts(list(TEXTS[name])))


def test_an_end_token_has_its_name_and_no_bytes(vocabulary: Vocabulary) -> None:
    cut, rest = vocabulary.encode("三".encode()[:1]), vocabulary.encode("三".encode()[1:])
    assert vocabulary.texts([*cut, vocabulary.end, *rest]) == ["\\xe4", vocabulary.end_name, "\\xb8", "\\x89"]
    assert vocabulary.byte_lengths[vocabulary.end] == 0


def test_byte_fallback_has_tokens_of_spaces_and_of_bytes(fallback: Vocabulary) -> None:
    tokens = fallback.encode("b  b a\né".encode())
    assert fallback.texts(tokens) == ["b", "··", "b", "·a", "↵", "é", ""]
    assert fallback.byte_lengths[tokens].tolist() == [1, 2, 1, 2, 1, 1, 1]
    assert fallback.decode(fallback.encode("a▁b".encode())) == b"a b", "the sign for a space comes back as one"


def test_a_special_token_ends_documents_before_another_of_the_usual_names(fallback: Vocabulary) -> None:
    assert (fallback.end_name, fallback.byte_lengths[fallback.end]) == ("<eos>", 0)


@pytest.mark.parametrize(("template", "begins"), [("<bos> $A", True), ("$A <bos>", False), ("<bos> $A <bos>", True)])
def test_the_begin_token_is_what_the_tokenizer_puts_before_a_text(template: str, begins: bool, tmp_path: Path) -> None:
    path = with_begin(train_tokenizer(tmp_path / "tokenizer.json"), template)
    vocabulary = Vocabulary.read(path)
    own = vocabulary.encode(b"<bos> a")
    assert vocabulary.texts(own)[0] != "<bos>", "a name in a text is text"
    assert vocabulary.begun(own) == ([vocabulary.size - 1, *own] if begins else own)
    assert vocabulary.without_begin().begun(own) == own == vocabulary.without_begin().encode(b"<bos> a")
    assert Vocabulary.of_bytes().begun([97]) == [97]


def edited(tokenizer: Path, path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(json.loads(tokenizer.read_text()) | changes))
    return path


def test_settings_that_shorten_or_lengthen_a_text_have_no_effect(tokenizer: Path, tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    filled = {
        "strategy": {"Fixed": 99},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": END,
    }
    changed = Vocabulary.read(edited(tokenizer, tmp_path / "changed.json", truncation=cut, padding=filled))
    assert changed.encode(TEXT.encode()) == Vocabulary.read(tokenizer).encode(TEXT.encode())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "without loss: a text is decoded to another"),
        ({"model": {"type": "WordLevel", "vocab": {END: 0, "a": 1}, "unk_token": END}}, "without loss: only 1 of 256"),
        ({"model": {"type": "Pickle"}}, "is no tokenizer that the package tokenizers reads"),
    ],
    ids=["lowercase", "words", "unknown"],
)
def test_a_tokenizer_that_loses_bytes_is_refused(
    changes: dict[str, object], reason: str, tokenizer: Path, tmp_path: Path
) -> None:
    path = edited(tokenizer, tmp_path / "changed.json", **changes)
    with pytest.raises(UserError, match=reason) as caught:
        Vocabulary.read(path)
    assert str(path) in str(caught.value)


def test_the_end_token_is_found_or_given(tokenizer: Path, tmp_path: Path) -> None:
    usual = Vocabulary.read(tokenizer)
    assert Vocabulary.read(tokenizer, END).end == usual.end == Vocabulary.read(tokenizer, usual.end).end
    for end in ("<nothing>", 10**6):
        with pytest.raises(UserError, match=f"has no token {end}, which is to end documents"):
            Vocabulary.read(tokenizer, end)
    other = tmp_path / "other.json"
    other.write_text(tokenizer.read_text().replace(END, "<other>"))
    with pytest.raises(UserError, match=r"give tokenizer\.end=NAME"):
        Vocabulary.read(other)
    assert Vocabulary.read(other, "<other>").end == usual.end


def test_a_character_of_several_bytes_stands_on_its_first_byte() -> None:
    texts = Vocabulary.of_bytes().texts
    assert texts(list("Größe 你好\n".encode())) == [*"Gr", "ö", "", "ß", "", "e", "·", "你", "", "", "好", "", "", "↵"]
    cut = "ü".encode()[1:] + "🙂".encode() + "好".encode()[:2]
    assert texts(list(cut)) == ["\\xbc", "🙂", "", "", "", "\\xe5", "\\xa5"]


def test_a_task_has_bytes_a_vocabulary_or_no_text() -> None:
    vocabulary = Vocabulary.of_bytes()
    found = vocabulary_of(SimpleNamespace(token="byte"))  # type: ignore[arg-type]
    assert found is not None
    text = "für 三".encode() + b"\xff"
    assert found.decode(found.encode(text)) == text
    assert vocabulary_of(SimpleNamespace(vocabulary=vocabulary)) is vocabulary  # type: ignore[arg-type]
    assert vocabulary_of(SimpleNamespace(vocabulary=None)) is None  # type: ignore[arg-type]
    assert vocabulary_of(SimpleNamespace()) is None  # type: ignore[arg-type]
    assert token_texts(SimpleNamespace(vocabulary=vocabulary), [97, 300]) == ["a", "<|endoftext|>"]  # type: ignore[arg-type]
    assert token_texts(SimpleNamespace(token_text=hex), [10]) == ["0xa"]  # type: ignore[arg-type]
