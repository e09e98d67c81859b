"""Options of the tasks in `nas.data`."""

from dataclasses import dataclass
from typing import Any

from nas.search_spaces.options import option

COLUMN = "text"
"""Default column that is read from JSON Lines and Parquet."""
MAX_BYTES = 512 * 2**20
"""Default limit on the size of a text, in bytes: all of it is held in memory."""


@dataclass
class DataConfig:
    """Options of every task."""

    name: str = option("task, which `data=` selects")
    length: int = option("tokens of a training sequence, or of the longest ones", at_least=1, ceiling=10**9)
    batch_size: int = option("sequences in a training step, over all processes", at_least=1, ceiling=10**7)
    validation_batches: int = option("batches of a validation", at_least=1, ceiling=10**6)
    length_factors: list[int] = option(
        "sequence lengths of the final evaluation, as multiples of data.length; one of them must be 1",
        at_least=1,
        ceiling=10**6,
    )


@dataclass
class ReadingConfig(DataConfig):
    """Options of a task that reads a text; see `nas.data.corpus`."""

    path: str | None = option("file or folder of the text; null: Python's standard library", default=None)
    column: str = option("column with the text, in .jsonl and .parquet", default=COLUMN)
    max_bytes: int = option(
        "largest size of the text in bytes, since all of it is held in memory",
        default=MAX_BYTES,
        at_least=1,
        ceiling=2**50,
    )


@dataclass
class RecallConfig(DataConfig):
    """Planted multi-query associative recall; see `nas.data.recall.Recall`."""

    keys: int = option("number of different keys", at_least=1, ceiling=10**8)
    values: int = option("number of different values", at_least=1, ceiling=10**8)
    noise: int = option("number of different noise tokens", at_least=1, ceiling=10**8)
    min_length: int = option("tokens of the shortest training sequences", at_least=1, ceiling=10**9)
    pairs: int = option("largest number of key-value pairs in a sequence", at_least=1, ceiling=10**8)
    min_pairs: int = option("smallest number of key-value pairs in a sequence", at_least=1, ceiling=10**8)
    block_size: int = option("tokens of a block of planted pairs", at_least=1, ceiling=10**9)
    block_margin: int = option(
        "tokens of noise at the end of a block, into which short convolutions carry pairs", at_least=0, ceiling=10**9
    )
    queries: int = option("queried keys at the end of a sequence", at_least=1, ceiling=10**8)
    distractors: int = option(
        "key-value pairs that are never queried; shorter training sequences have as many as fit",
        default=0,
        at_least=0,
        ceiling=10**8,
    )
    aligned: bool = option("whether the position of a block is a multiple of its size", default=True)
    shared_noise: bool = option("whether the noise between pairs consists of keys and values", default=False)


@dataclass
class MQARConfig(DataConfig):
    """Multi-query associative recall of Zoology; see `nas.data.mqar.MQAR`."""

    vocab_size: int = option("number of different tokens", at_least=1, ceiling=10**8)
    pairs: int = option("key-value pairs of the hardest sequences", at_least=1, ceiling=10**8)
    settings: list[list[int]] = option(
        "training batches as [length, pairs, weight], in which weights are relative frequencies",
        at_least=0,
        ceiling=10**9,
    )
    power_a: float = option("exponent of the power law of distances; 1 is uniform", above=0, at_most=1)
    random_non_queries: bool = option("whether positions without pairs and queries hold random tokens")


@dataclass
class NeedleConfig(ReadingConfig):
    """A needle in a haystack, after RULER; see `nas.data.needle.Needle`."""

    form: str = option("haystack: noise, text (prose), or digits (prose, and a value of 32 hexadecimal digits)")
    min_length: int | None = option(
        "tokens of the shortest training sequences; null: a short one with room for needle and question",
        default=None,
        at_least=1,
        ceiling=10**9,
    )
    value_length: int | None = option(
        "tokens of the value; null: 7 as in RULER, or 32 with form=digits", default=None, at_least=1, ceiling=10**6
    )
    distractors: int = option(
        "needles with other keys and values; shorter training sequences have as many as fit",
        default=0,
        at_least=0,
        ceiling=10**6,
    )


@dataclass
class RulerConfig(DataConfig):
    """Tasks of RULER at token level; see `nas.data.ruler.task.Ruler`."""

    problem: str = option("single, multikey_2, multikey_3 (needles), variable_tracking, common_words or frequent_words")
    words: int = option("number of different words: keys, variables, and what is counted", at_least=16, ceiling=10**6)
    noise: int = option("number of different noise tokens", at_least=1, ceiling=10**8)
    distractors: int = option(
        "further needles of problem=single, or further chains of problem=variable_tracking", at_least=0, ceiling=10**6
    )
    min_length: int | None = option(
        "tokens of the shortest training sequences; null: the smallest multiple of 64 that fits",
        default=None,
        at_least=1,
        ceiling=10**9,
    )


@dataclass
class StateTrackingConfig(DataConfig):
    """Running sums; see `nas.data.state_tracking.StateTracking`."""

    problem: str = option("parity, or modular: sums modulo data.modulus")
    modulus: int = option("number of states of problem=modular", at_least=2, ceiling=10**8)
    min_length: int = option("tokens of the shortest training sequences", at_least=1, ceiling=10**9)


@dataclass
class IdentifiersConfig(ReadingConfig):
    """Python source with renamed identifiers; see `nas.data.identifiers.Identifiers`."""

    queries: int = option("scored bytes of renamed identifiers in a sequence", at_least=1, ceiling=10**8)


@dataclass
class TextConfig(ReadingConfig):
    """Bytes of a text; see `nas.data.text.Text`."""


@dataclass
class TokensConfig(DataConfig):
    """Tokens that a tokenizer has made before; see `nas.data.tokens.Tokens`.

    The shares of ``mix`` have no type that Hydra knows: it refuses keys that a typed dict does not have yet.
    """

    path: str | None = option(
        "folder of nas.prepare, or shards of nanoGPT (.bin) or Megatron-LM (.idx); null: see data.mix", default=None
    )
    mix: Any = option(
        "share of the sequences by folder, in any unit, for example {DIR_A: 3, DIR_B: 1}; null: see data.path",
        default=None,
    )
    documents: str = option(
        "joined: sequences run over the ends of documents; packed: no document sees another one", default="joined"
    )
    tokenizer: str | None = option(
        "tokenizer.json, or bytes, of shards that nas.prepare has not made; null: not known", default=None
    )
    end: int | None = option(
        "token id that ends a document, in shards of nanoGPT; null: the end token of the tokenizer",
        default=None,
        at_least=0,
        ceiling=2**32,
    )
    begin: bool = option(
        "whether sequences begin with the token that the tokenizer puts before a text, such as <bos>", default=True
    )
    vocab_size: int | None = option(
        "number of token ids; null: that of the tokenizer", default=None, at_least=1, ceiling=10**8
    )
