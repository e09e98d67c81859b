"""Options of the suites of `nas.evaluate`; see `nas.suites`."""

from dataclasses import dataclass

from nas.options.tasks import COLUMN
from nas.search_spaces.options import option


@dataclass
class RulerSuiteConfig:
    """Options of the suite ruler."""

    tasks: list[str] | None = option("tasks of RULER, see `nas.suites.ruler`; null: all of them", default=None)


@dataclass
class RecallSuiteConfig:
    """Options of the suite recall."""

    ngram: int | None = option(
        "tokens of an n-gram; null: 2 as in Zoology, or 8 where tokens are bytes",
        default=None,
        at_least=2,
        ceiling=10**3,
    )
    most: float = option(
        "largest number of occurrences of a rare n-gram in a million training tokens", at_least=0, ceiling=10**6
    )
    counted: int = option("training tokens in which n-grams are counted, at most", at_least=0, ceiling=10**12)


@dataclass
class IdentifiersSuiteConfig:
    """Options of the suite identifiers."""

    path: str | None = option(
        "file or folder of Python or C source; null: the held-out files of the run if they are source, else Python's "
        "standard library",
        default=None,
    )


@dataclass
class SuitesConfig:
    """Options of all suites."""

    lengths: list[int] | None = option(
        "tokens of the sequences; null: data.length times data.length_factors of the run",
        default=None,
        at_least=16,
        ceiling=10**9,
    )
    samples: int = option("sequences at each length, or prompts of a task", at_least=1, ceiling=10**6)
    seed: int = option("seed of what is drawn", at_least=0, ceiling=2**62)
    path: str | None = option(
        "file or folder of text, or of tokens of nas.prepare; null: the held-out documents of the run", default=None
    )
    column: str = option("column with the text, in .jsonl and .parquet", default=COLUMN)
    documents: str | None = option(
        "joined: sequences run on into the next document; whole: they do not; null: as in the run's training",
        default=None,
    )
    share: float | None = option(
        "largest share of chunks that routers keep; null: their own thresholds", default=None, at_least=0, at_most=1
    )
    overwrite: bool = option("whether results in the output folder are computed again")
    ruler: RulerSuiteConfig = option("tasks of RULER")
    recall: RecallSuiteConfig = option("n-grams that stand earlier in the sequence")
    identifiers: IdentifiersSuiteConfig = option("renamed identifiers in source code")
