"""The tokenizer of bytes, and those of pretrained models."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from nas.data.shards.folder import fingerprint_of
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.exporting.stock import CLASSES
from nas.exporting.tokenizer import PAD, QWEN2_SPLIT, fits_family, of_bytes, tokenizer_files
from tests.nas.data.shards.written import train_tokenizer, with_begin

LLAMA_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Pattern by which Llama 3 splits a text: three digits are a token."""
TEXTS = ("return 100000", "e\u0301 Größe \ufb01", "  a\r\n\n\tb", "I'm <|endoftext|> here")


def tokenizer_of(vocab_size: int) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(of_bytes(Vocabulary.of_bytes(), vocab_size)))


def write_tokenizer(folder: Path, split: str, normalizer: Any = None, begin: bool = False) -> Path:
    """A tokenizer.json that knows numbers of three digits."""
    path = train_tokenizer(folder / "tokenizer.json")
    made = Tokenizer.from_file(str(path))
    by_byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), by_byte])
    if normalizer is not None:
        made.normalizer = normalizer
    fields = json.loads(made.to_str())
    for name, parts in (("00", ["0", "0"]), ("000", ["00", "0"])):
        fields["model"]["vocab"][name] = len(fields["model"]["vocab"])
        fields["model"]["merges"].append(parts)
    path.write_text(json.dumps(fields))
    return with_begin(path) if begin else path


def task_of(tokenizer: Path) -> Any:
    return SimpleNamespace(name="tokens", tokenizer=fingerprint_of(tokenizer), vocabulary=Vocabulary.read(tokenizer))


def write_export(folder: Path, source: Path, family: str) -> Path:
    """The tokenizer of an export, beside the config.json of a family."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    for name, text in tokenizer_files(task_of(source / "tokenizer.json"), 400, source).items():
        (folder / name).write_text(text)
    return folder


def test_every_byte_is_its_token() -> None:
    tokenizer = tokenizer_of(256)
    text = "".join(map(chr, range(1, 2000)))
    assert tokenizer.encode(text).ids == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text


def test_the_token_behind_the_bytes_ends_a_text_or_is_padding() -> None:
    assert tokenizer_of(256).token_to_id(PAD) == 256
    assert tokenizer_of(257).token_to_id("<|endoftext|>") == 256
    assert tokenizer_of(257).token_to_id(PAD) is None


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("kind", ["Llama", "Llama, begin", "Qwen2"])
def test_a_stock_family_reads_the_tokenizer_of_the_training(family: str, kind: str, tmp_path: Path) -> None:
    qwen2 = kind == "Qwen2"
    split = QWEN2_SPLIT if qwen2 else LLAMA_SPLIT
    path = write_tokenizer(tmp_path, split, normalizers.NFC() if qwen2 else None, begin=kind.endswith("begin"))
    assert fits_family(path.read_text(), family) == (family != "qwen2" or qwen2)
    if fits_family(path.read_text(), family):
        read, made = (
            Tokenizer.from_file(str(path)),
            AutoTokenizer.from_pretrained(write_export(tmp_path / "export", tmp_path, family)),
        )
        for text in TEXTS:
            assert made(text)["input_ids"] == read.encode(text).ids, text


@pytest.mark.parametrize(
    ("config", "special", "end", "pad"),
    [
        (None, None, "<|endoftext|>", "<|endoftext|>"),
        ({"eos_token": "<bos>"}, None, "<bos>", "<bos>"),
        ({"eos_token": {"__type": "AddedToken", "content": "<bos>"}, "pad_token": None}, None, "<bos>", "<bos>"),
        (None, {"eos_token": {"content": "<bos>"}}, "<bos>", "<bos>"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"pad_token": "<bos>"}, "<|endoftext|>", "<bos>"),
        ({"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own"}, None, "<|endoftext|>", None),
    ],
    ids=["no files", "no padding", "null", "special tokens with properties", "special tokens", "code"],
)
def test_prompts_form_batches(
    config: dict[str, Any] | None, special: dict[str, Any] | None, end: str, pad: str | None, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path, LLAMA_SPLIT, begin=True)
    for name, values in (("tokenizer_config.json", config), ("special_tokens_map.json", special)):
        if values is not None:
            (tmp_path / name).write_text(json.dumps(values))
    made = AutoTokenizer.from_pretrained(write_export(tmp_path / "export", tmp_path, "nas_hybrid"))
    assert (made.eos_token, made.pad_token) == (end, pad or end)
    batch = made(["def main", "d"], padding=True)
    assert batch["attention_mask"][1][0] == 0


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]"])
def test_a_damaged_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    task = task_of(train_tokenizer(tmp_path / "tokenizer.json"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read .* copy the folder of the pretrained model again"):
        tokenizer_files(task, 300, tmp_path)
