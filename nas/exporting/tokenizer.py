"""The tokenizer of an exported model, as files that `AutoTokenizer` reads."""

import json
from pathlib import Path
from typing import Any

from nas.data import Task
from nas.data.shards.folder import TOKENIZER, fingerprint_of
from nas.data.shards.vocabulary import Vocabulary, byte_alphabet, vocabulary_of
from nas.errors import UserError

CONFIG, SPECIAL = "tokenizer_config.json", "special_tokens_map.json"
OTHERS = (SPECIAL, "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt")
"""Further files of the tokenizer of a pretrained model."""
FILES = (TOKENIZER, CONFIG, *OTHERS)
"""All files of a tokenizer."""
PAD = "<|pad|>"
"""Name of the padding token of bytes without an end token. Its id follows those of the model."""
QWEN2 = "qwen2"
"""Family whose models get the tokenizer of Qwen2 from `AutoTokenizer`, with the vocabulary and merges of the folder."""
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern by which that tokenizer splits a text."""
QWEN2_PARTS = (
    {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
)
"""Its steps before the merges, without an option that changes no tokens."""


class NoTokenizer(Exception):
    """The tokens of a run have no tokenizer; the message says why."""


def tokenizer_files(task: Task, vocab_size: int, pretrained: Path | None) -> dict[str, str]:
    """Return the files of the tokenizer of a run, by name.

    Args:
        task: task of the run.
        vocab_size: number of token ids of the model.
        pretrained: folder of the pretrained model that the run started from; None without.

    Raises:
        NoTokenizer: tokens are no text, or their tokenizer is not known.
        UserError: a file of the tokenizer of the pretrained model cannot be read.
    """
    vocabulary = vocabulary_of(task)
    if pretrained is not None and (pretrained / TOKENIZER).is_file():
        names = [name for name in FILES if (pretrained / name).is_file()]
        files = {name: _text_of(pretrained / name) for name in names}
        _object_of(pretrained / TOKENIZER, files[TOKENIZER])
        is_own = fingerprint_of(pretrained / TOKENIZER) == getattr(task, "tokenizer", None)
        end = vocabulary.end_name if vocabulary is not None and is_own else None
        return files | {CONFIG: _completed(pretrained, files, end)}
    if vocabulary is None:
        raise NoTokenizer(f"The tokens of the task {task.name} are no text, or their tokenizer is not known.")
    made = vocabulary.json or json.dumps(of_bytes(vocabulary, vocab_size), indent=1)
    return {TOKENIZER: made, CONFIG: json.dumps(_config(vocabulary, vocab_size), indent=2) + "\n"}


def special_tokens(task: Task, vocab_size: int) -> dict[str, int]:
    """Return the fields of config.json with the ids of the end and the padding token of a task; empty if unknown."""
    vocabulary = vocabulary_of(task)
    if vocabulary is None:
        return {}
    if vocabulary.end >= vocab_size:
        return {"pad_token_id": vocab_size}
    return {"eos_token_id": vocabulary.end, "pad_token_id": vocabulary.end}


def of_bytes(vocabulary: Vocabulary, vocab_size: int) -> dict[str, Any]:
    """Return the tokenizer.json whose tokens 0 to 255 are bytes: byte-level BPE without merges."""
    ends = [(vocabulary.end_name, vocabulary.end) if vocabulary.end < vocab_size else (PAD, vocab_size)]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    by_byte = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token, "content": name, **plain} for name, token in ends],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", **by_byte},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", **by_byte},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": byte_alphabet() | dict(ends),
            "merges": [],
        },
    }


def _config(vocabulary: Vocabulary, vocab_size: int) -> dict[str, Any]:
    end = {"pad_token": PAD}
    if vocabulary.end < vocab_size:
        end = {"eos_token": vocabulary.end_name, "pad_token": vocabulary.end_name}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        **end,
    }


def _completed(folder: Path, files: dict[str, str], end: str | None) -> str:
    """Return the tokenizer_config.json of a pretrained model, as batches of prompts need it.

    The tokenizer pads before prompts. Without a padding token of its own it pads with its end token.

    Args:
        folder: folder of the model, for messages.
        files: files of its tokenizer.
        end: name of the end token of the training, if the model has none; None if it is not known.
    """
    given, special = (_object_of(folder / name, files.get(name, "{}")) for name in (CONFIG, SPECIAL))
    known = special | {name: value for name, value in given.items() if value is not None}
    end = known.get("eos_token", end)
    if isinstance(end, dict):  # a name with its properties
        end = end.get("content")
    missing = {} if end is None else {name: end for name in ("eos_token", "pad_token") if known.get(name) is None}
    made = {"tokenizer_class": "PreTrainedTokenizerFast"} | given | missing | {"padding_side": "left"}
    made.pop("auto_map", None)  # code that is not part of the folder
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def fits_family(tokenizer: str, family: str) -> bool:
    """Return whether `AutoTokenizer` reads a tokenizer.json in a folder of a stock family as it is.

    Args:
        tokenizer: text of the tokenizer.json.
        family: family of the model.
    """
    if family != QWEN2:
        return True
    made = json.loads(tokenizer)
    parts = (made.get("pre_tokenizer") or {}).get("pretokenizers") or ()
    after = made.get("post_processor")
    return (
        made.get("normalizer") == {"type": "NFC"}
        and tuple({name: value for name, value in part.items() if name != "trim_offsets"} for part in parts)
        == QWEN2_PARTS
        and (after is None or after["type"] == "ByteLevel")
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _object_of(path: Path, text: str) -> dict[str, Any]:
    """Return the JSON object of a text, which was read from a file."""
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(made, dict):
        raise _damaged(path, "it is no JSON object")
    return made


def _damaged(path: Path, reason: object) -> UserError:
    return UserError(f"{path} cannot be read ({reason}); copy the folder of the pretrained model again.")
