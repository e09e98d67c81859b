"""The prompts of a generation: one from the command line, or those of a file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nas.config import GenerateConfig
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError

LINES = ".jsonl"
"""Ending of files of which each line is JSON."""
KEYS = ("prompt", "text")
"""Keys of an object in such a line that may have the prompt, in order."""


class Prompt(NamedTuple):
    """A prompt as given, and its tokens."""

    text: str
    tokens: list[int]


def read_prompts(config: GenerateConfig, vocabulary: Vocabulary | None, task: str, vocab_size: int) -> list[Prompt]:
    """Return the prompts of the options.

    Args:
        config: options of the command.
        vocabulary: vocabulary of the tokens; None if prompts are token ids.
        task: name of the task of the run.
        vocab_size: number of token ids of the model.

    Raises:
        UserError: a file cannot be read, a line is no prompt, or a prompt has no tokens or unknown ones.
    """
    if config.prompts is None:
        assert config.prompt is not None
        return [_prompt("prompt", config.prompt, vocabulary, task, vocab_size)]
    if config.prompt is not None:
        raise UserError(f"prompt and prompts={config.prompts} are both given; give only one of them.")
    path = Path(config.prompts).expanduser()
    read = _json_lines if path.suffix == LINES else _lines
    found = [_prompt(where, text, vocabulary, task, vocab_size) for where, text in read(path)]
    if not found:
        raise UserError(f"prompts={path} has no prompt; give a file with one prompt a line.")
    return found


def _prompt(where: str, text: str, vocabulary: Vocabulary | None, task: str, vocab_size: int) -> Prompt:
    tokens = _ids(where, text, task) if vocabulary is None else vocabulary.begun(vocabulary.encode(_bytes(where, text)))
    if not tokens:
        raise UserError(f"{where} is empty; give at least one token.")
    if wrong := [token for token in tokens if not 0 <= token < vocab_size]:
        raise UserError(f"{where} has the token id {wrong[0]}, but the model has 0 to {vocab_size - 1}.")
    return Prompt(text, tokens)


def _bytes(where: str, text: str) -> bytes:
    """Return a text as UTF-8, with the bytes that were not UTF-8 when it was read."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where} has {text[error.start]!a}, half of a surrogate pair, which is no character; give both halves, or "
            "the character itself."
        ) from error


def _ids(where: str, text: str, task: str) -> list[int]:
    """Return the token ids in a text."""
    try:
        return [int(word) for word in text.split()]
    except ValueError as error:
        raise UserError(
            f"{where} is a text, but the tokens of {task} are no text; give token ids with spaces between them, as in "
            "prompt='12 7 30', or a run on text."
        ) from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"prompts={path} cannot be read ({error.strerror}); give a readable file.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"prompts={path}, line {number},", line.removesuffix("\r")


def _json_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the prompt of each line of JSON: a string, or an object with one of `KEYS`."""
    for where, line in _lines(path):
        try:
            given = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is not JSON ({error}); give one string or object a line.") from error
        if isinstance(given, dict):
            given = next((given[key] for key in KEYS if key in given), None)
        if not isinstance(given, str):
            raise UserError(f"{where} has no prompt; give a string, or an object with prompt or text.")
        yield where, given
