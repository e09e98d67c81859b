"""The tokenizer of an exported model, as files that `AutoTokenizer` reads."""

import json
from pathlib import Path
from typing import Any

from nas.data import Task
from nas.data.shards.folder import TOKENIZER
from nas.data.shards.vocabulary import Vocabulary, byte_alphabet, vocabulary_of

CONFIG = "tokenizer_config.json"
OTHERS = ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt")
"""Further files of the tokenizer of a pretrained model."""
FILES = (TOKENIZER, CONFIG, *OTHERS)
"""All files of a tokenizer."""
PAD = "<|pad|>"
"""Name of the padding token of bytes without an end token. Its id follows those of the model."""


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
    """
    if pretrained is not None and (pretrained / TOKENIZER).is_file():
        files = {
            name: (pretrained / name).read_text(encoding="utf-8") for name in FILES if (pretrained / name).is_file()
        }
        return files | {CONFIG: _padded_left(files.get(CONFIG))}
    vocabulary = vocabulary_of(task)
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


def _padded_left(config: str | None) -> str:
    """Return a tokenizer_config.json whose tokenizer pads before prompts, as generation needs it."""
    given = {} if config is None else json.loads(config)
    fast = {"tokenizer_class": "PreTrainedTokenizerFast"}
    return json.dumps(fast | given | {"padding_side": "left"}, indent=2, ensure_ascii=False) + "\n"
