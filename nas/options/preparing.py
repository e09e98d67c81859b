"""Options of ``python -m nas.prepare``."""

from dataclasses import dataclass
from typing import Any

from nas.search_spaces.options import option


@dataclass
class TokenizerConfig:
    """What turns text into tokens: bytes have no further options."""

    name: str = option("kind of the tokenizer")


@dataclass
class BPEConfig(TokenizerConfig):
    """Byte-level BPE, read from a file or trained."""

    path: str | None = option("tokenizer.json to use; null: one is trained", default=None)
    end: str | None = option("name of the token that ends documents; null: the usual names are tried", default=None)
    vocab_size: int = option("tokens of a trained tokenizer", at_least=257, ceiling=2**24)
    sample_bytes: int = option("bytes of training text on which it is trained", at_least=1, ceiling=2**40)


@dataclass
class PrepareConfig:
    """Options of `python -m nas.prepare`."""

    tokenizer: TokenizerConfig = option("tokenizer")
    input: str = option("file or folder: text, .jsonl, .ndjson, .parquet; or a saved data set of the package datasets")
    output: str = option("folder of the shards; the same command continues a folder that is not complete")
    column: str = option("column of tables that has the text")
    include: list[str] = option("patterns of the files of a folder that are read, by their path inside; [] for all")
    exclude: list[str] = option("patterns of files that are left out")
    validation: float = option("share of documents for validation", at_least=0, at_most=1)
    shard_bytes: int = option(
        "largest size of the text of a shard, unless a text file is larger", at_least=2**16, ceiling=2**40
    )
    workers: Any = option("processes; auto: one for each core", auto=True, at_least=1, ceiling=10**4)
