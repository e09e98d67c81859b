"""Prompts: from the command line, from files, and what is refused."""

from pathlib import Path

import pytest

from nas.config import GenerateConfig
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.generation.prompts import Prompt, read_prompts

BYTES = Vocabulary.of_bytes()


def read(vocabulary: Vocabulary | None = None, **options: str) -> list[Prompt]:
    return read_prompts(GenerateConfig(**options), vocabulary, "recall", 256 if vocabulary else 10)  # type: ignore[arg-type]


def test_a_prompt_is_text_or_token_ids() -> None:
    assert read(BYTES, prompt="é \udcff") == [Prompt("é \udcff", [0xC3, 0xA9, 0x20, 0xFF])]
    assert read(prompt="3  9") == [Prompt("3  9", [3, 9])]


def test_a_file_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    lines, objects = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    lines.write_bytes(b"one\r\n\n two\xff")
    assert [prompt.text for prompt in read(BYTES, prompts=str(lines))] == ["one", " two\udcff"]
    lines.write_bytes(b"\xef\xbb\xbfone")
    assert [prompt.text for prompt in read(BYTES, prompts=str(lines))] == ["one"]  # without the byte-order mark
    objects.write_text('"a\\nb"\n{"prompt": "c", "text": "d"}\n{"text": "e", "n": 1}\n')
    assert [prompt.text for prompt in read(BYTES, prompts=str(objects))] == ["a\nb", "c", "e"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "", "has no prompt; give a file with one prompt a line"),
        ("a.jsonl", '"a"\n{', r"a.jsonl, line 2, is not JSON \(.*\); give one string or object a line"),
        ("a.jsonl", '{"words": "a"}', "line 1, has no prompt; give a string, or an object with prompt or text"),
        ("a.jsonl", "3", "line 1, has no prompt"),
        ("a.jsonl", '""', "line 1, is empty; give at least one token"),
        ("a.jsonl", '"a\\ud800"', r"line 1, has '\\ud800', half of a surrogate pair, which is no character"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=told):
        read(BYTES, prompts=str(tmp_path / name))


def test_options_that_cannot_work_are_refused(tmp_path: Path) -> None:
    for vocabulary, options, told in (
        (BYTES, {"prompt": "a", "prompts": "b"}, "prompt and prompts=b are both given"),
        (BYTES, {"prompts": str(tmp_path)}, r"prompts=.* cannot be read \(Is a directory\)"),
        (None, {"prompt": "a b"}, "prompt is a text, but the tokens of recall are no text; give token ids"),
        (None, {"prompt": "3 10"}, "prompt has the token id 10, but the model has 0 to 9"),
    ):
        with pytest.raises(UserError, match=told):
            read(vocabulary, **options)


def test_a_prompt_begins_with_the_begin_token() -> None:
    begun = Vocabulary.of_bytes()
    begun.begin = 1
    assert read(begun, prompt="ab")[0].tokens == [1, 97, 98]
    assert read(begun, prompt="")[0].tokens == [1], "of a model that begins texts so, even an empty prompt is one"
    with pytest.raises(UserError, match=r"prompt is empty; give at least one token"):
        read(BYTES, prompt="")
