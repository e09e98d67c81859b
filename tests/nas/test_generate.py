"""`python -m nas.generate`: text from a trained run, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.nas.commands import Ended, nas, refusal


def generated(run: Path, *options: str) -> Ended:
    ended = nas("generate", f"run={run}", "max_tokens=24", "device=cpu", *options)
    assert ended.status == 0, ended.err
    return ended


def test_help_tells_what_there_is() -> None:
    ended = nas("generate", "--help")
    assert ended.status == 0
    for text in ("python -m nas.generate run=outputs/search/RUN", "\nrun=null ", "\nshare=null ", "top_p=1.0 "):
        assert text in ended.out
    assert "resume" not in ended.out


def test_a_text_is_continued_alone_and_in_a_batch(of_bytes: Path, tmp_path: Path) -> None:
    alone = generated(of_bytes, "prompt='line 0'", "temperature=0.5")
    assert alone.out.endswith("\n")
    assert alone.err.startswith("prompt: 6 tokens, ")
    assert "generation: 24 tokens, " in alone.err
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('"é"\n{"prompt": "line 0"}\n"line 0"\n')
    first, second, third = map(
        json.loads, generated(of_bytes, f"prompts={prompts}", "temperature=0.5").out.splitlines()
    )
    assert (first["prompt"], second["prompt"]) == ("é", "line 0")
    assert second["text"] + "\n" == alone.out
    assert third["text"] != second["text"]
    letter = next(character for character in alone.out if character.isascii() and character.isalnum())
    stopped = generated(of_bytes, "prompt='line 0'", "temperature=0.5", f"stop={letter}")
    assert stopped.out == alone.out.partition(letter)[0] + "\n"
    blank = generated(of_bytes, "prompt='\n'", "stop=' '", "temperature=0.5")
    assert blank.err.startswith("prompt: 1 token, ")
    assert " " not in blank.out


def test_token_ids_are_continued_where_tokens_are_no_text(search: Ended) -> None:
    ids = [int(word) for word in generated(search.run, "prompt='1 2 3'").out.split()]
    assert len(ids) == 24


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("prompt=a",), "run is missing; give the folder of a finished run"),
        (("run={run}",), "prompt is missing; give a text to continue"),
        (("run={run}", "prompt=a", "stop=''"), "stop='' is not allowed; give at least one character"),
        (("run={run}", "prompt=a", "temperature=-1"), "temperature=-1.0 is not allowed; give 0 or more"),
        (("run={run}", "prompt=a", "top_p=0"), "top_p=0.0 is not allowed; give a number over 0 and at most 1"),
        (("run={run}", "prompt=a", "share=2"), "share=2.0 is not allowed; give a number from 0 to 1"),
        (("run={run}", "prompt=a", "device=tpu"), "device=tpu is not on this machine; give one of: auto, cpu"),
        (("run={recall}", "prompt=a"), "prompt is a text, but the tokens of recall are no text; give token ids"),
        (("run={recall}", "prompt=1", "stop=a"), "stop=a is a text, but the tokens of the run are no text"),
    ],
)
def test_what_cannot_be_continued_is_refused(
    of_bytes: Path, search: Ended, options: tuple[str, ...], told: str
) -> None:
    assert told in refusal("generate", *(option.format(run=of_bytes, recall=search.run) for option in options))
