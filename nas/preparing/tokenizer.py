"""The tokenizer of a folder of tokens: bytes, the given tokenizer.json, or BPE that is trained on a sample."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nas.data.shards.folder import fingerprint_of
from nas.data.shards.vocabulary import BYTES, END, Vocabulary
from nas.errors import UserError
from nas.options.preparing import BPEConfig, PrepareConfig, TokenizerConfig
from nas.preparing.documents import documents, is_text, parts_of
from nas.preparing.pieces import Piece
from nas.preparing.unit import Settings, part_of, started

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern of the words of a trained tokenizer, that of Llama 3: no token crosses their ends."""
PARALLEL = "TOKENIZERS_PARALLELISM"
"""Environment variable of the package tokenizers: whether it uses threads."""


def given_path(config: PrepareConfig) -> Path | None:
    """Return the path of the tokenizer.json of a config, after a check of the file; None if none is given."""
    tokenizer = config.tokenizer
    if not isinstance(tokenizer, BPEConfig):
        if tokenizer.name != BYTES:
            raise UserError(f"tokenizer.name={tokenizer.name} is unknown; give tokenizer=bpe or tokenizer=bytes.")
        return None
    if tokenizer.path is None:
        if config.validation == 1:
            raise _nothing_to_train_on(config.validation)
        return None
    path = Path(tokenizer.path).expanduser()
    if not path.is_file():
        raise UserError(f"tokenizer.path={tokenizer.path} is no file; give a tokenizer.json.")
    Vocabulary.read(path, tokenizer.end)
    return path


def _nothing_to_train_on(validation: float) -> UserError:
    return UserError(
        f"validation={validation:g} leaves no text of the input to train a tokenizer on; give tokenizer.path, "
        "tokenizer=bytes, or less for validation."
    )


def identity(config: TokenizerConfig, given: Path | None) -> str:
    """Return a text that is the same for the same tokenizer, by which a continued run recognises it."""
    if not isinstance(config, BPEConfig):
        return BYTES
    how = f"trained vocab_size={config.vocab_size} sample_bytes={config.sample_bytes}"
    return f"bpe {how if given is None else fingerprint_of(given)} end={config.end}"


def train(
    settings: Settings,
    units: Sequence[Sequence[Piece]],
    vocab_size: int,
    sample_bytes: int,
    end: str | None,
) -> str:
    """Train byte-level BPE on a sample of the training documents; return the content of its tokenizer.json.

    The sample is taken from the beginning of each unit, in equal parts, so that all of the corpus is represented.

    Args:
        settings: settings of the units; the vocabulary is not used.
        units: pieces of each unit.
        vocab_size: number of tokens; a small sample gives fewer.
        sample_bytes: bytes of the sample.
        end: name of the end token; None for `END`.

    Raises:
        UserError: a document cannot be read, or there is no training document.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END if end is None else end],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with threads(True):
        tokenizer.train_from_iterator(_sample(settings, units, sample_bytes), trainer)
    content: str = tokenizer.to_str(pretty=True)
    return content


@contextmanager
def threads(used: bool) -> Iterator[None]:
    """Let the package tokenizers use threads in the block, or not: each worker has one core."""
    before = os.environ.get(PARALLEL)
    os.environ[PARALLEL] = str(used).lower()
    try:
        yield
    finally:
        if before is None:
            del os.environ[PARALLEL]
        else:
            os.environ[PARALLEL] = before


def _sample(settings: Settings, units: Sequence[Sequence[Piece]], sample_bytes: int) -> Iterator[str]:
    """Yield parts of training documents; bytes that are not UTF-8 are left out."""
    found = False
    for unit in units:
        left = max(1, sample_bytes // len(units))
        for text in _training(settings, unit):
            found = True
            yield text[:left].decode("utf-8", "ignore")
            left -= len(text)
            if left <= 0:
                break
    if not found:
        raise _nothing_to_train_on(settings.validation)


def _training(settings: Settings, pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Yield the training documents of a unit in parts."""
    for piece in pieces:
        if not is_text(settings.root, piece):
            continue
        for blocks in documents(settings.root, piece, settings.column):
            head, document = started(blocks)
            if head and part_of(head, settings.validation) == "train":
                yield from parts_of(document)
