"""Small folders of tokens and small tokenizers for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.data.shards.folder import RECORD, TOKENIZER, Fingerprint, Folder, Input, Part, Shard, fingerprint_of
from nas.data.shards.vocabulary import BYTES, END, Vocabulary

TEXT = "def main(argv):\n    return 'Grüße aus Köln' + \"你好\" * len(argv)\n\n\nclass Größe:\n    pass\n"


def train_tokenizer(path: Path, size: int = 300) -> Path:
    """A byte-level BPE of a little text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    tokenizer.save(str(path))
    return path


def with_begin(tokenizer: Path, template: str = "<bos> $A") -> Path:
    """Let a tokenizer put a special token <bos> before every text, or where a template says, as Llama and Gemma do."""
    from tokenizers import Tokenizer, processors

    read = Tokenizer.from_file(str(tokenizer))
    read.add_special_tokens(["<bos>"])
    special = [("<bos>", read.token_to_id("<bos>"))]
    read.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    read.save(str(tokenizer))
    return tokenizer


def write_fallback_tokenizer(path: Path) -> Path:
    """A BPE with byte fallback, as Gemma has it: a space is ▁, and characters without a token become bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    names = ["<pad>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "\n", "▁a", "▁▁", "<eos>"]
    merges = [("▁", "a"), ("▁", "▁")]
    vocabulary = {name: place for place, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<pad>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<pad>", "<eos>"])
    tokenizer.save(str(path))
    return path


def write_folder(path: Path, parts: dict[Part, Sequence[Sequence[bytes]]], tokenizer: Path | None = None) -> Folder:
    """Write a folder of tokens: the documents of each shard of each part."""
    path.mkdir(exist_ok=True)
    vocabulary = Vocabulary.of_bytes() if tokenizer is None else Vocabulary.read(tokenizer)
    shards = []
    for part, several in parts.items():
        for number, documents in enumerate(several):
            name = f"{part}-{number:05}"
            tokens = [[*vocabulary.encode(document), vocabulary.end] for document in documents]
            lengths = [(len(own), len(document)) for own, document in zip(tokens, documents, strict=True)]
            index = np.cumsum([(0, 0), *lengths], axis=0, dtype=np.int64)
            np.concatenate(tokens).astype("<u2").tofile(path / f"{name}.bin")
            np.save(path / f"{name}.idx.npy", index)
            shards.append(Shard(name, part, int(index[-1, 0]), len(documents), int(index[-1, 1])))
    if tokenizer is not None:
        (path / TOKENIZER).write_bytes(tokenizer.read_bytes())
    every = [document for several in parts.values() for documents in several for document in documents]
    folder = Folder(
        path=path,
        dtype="uint16",
        vocab_size=vocabulary.size,
        end=vocabulary.end,
        tokenizer=BYTES if tokenizer is None else TOKENIZER,
        fingerprint=Fingerprint("00" * 16, fingerprint_of(tokenizer)),
        input=Input("corpus.txt", sum(map(len, every)), len(every), 0),
        shards=tuple(shards),
    )
    (path / RECORD).write_text(folder.record())
    return folder
