"""What the suites compute: a result for each suite, part and length, each with the settings that decide it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from nas.data.renaming import PYTHON, Language
from nas.data.shards.vocabulary import Vocabulary, vocabulary_of
from nas.data.tokens import PACKED
from nas.errors import UserError
from nas.options.suites import SuitesConfig
from nas.results.opened import OpenedRun
from nas.runs.folder import plain
from nas.suites import identifiers, recall, text
from nas.suites.documents import Documents, given, held_out, standard_library, training
from nas.suites.result import Result
from nas.suites.ruler import suite as ruler
from nas.suites.ruler.needles import Lines
from nas.suites.sequences import JOINED, KINDS, WHOLE, sequences
from nas.suites.subject import Advance, Subject

SUITES = ("text", "ruler", "recall", "identifiers")
"""All suites, as tables list them."""
BYTE_NGRAM, TOKEN_NGRAM = 8, 2
"""Default tokens of an n-gram."""

VERSION = 1
"""Version of what the suites compute: results of another version are computed again."""
OWN_CODE = "suites.identifiers.path"
"""Option with the source files of the suite identifiers."""

Compute = Callable[[Subject, Advance], Result]


@dataclass(frozen=True)
class Unit:
    """One result to compute.

    Attributes:
        suite: name of the suite.
        part: task of the suite; "" if it has no parts.
        length: tokens of a sequence.
        settings: everything that decides the result, as plain values.
        compute: function that computes the result.
    """

    suite: str
    part: str
    length: int
    settings: dict[str, Any]
    compute: Compute

    @property
    def name(self) -> str:
        """The name of the unit in files and progress."""
        return "-".join([self.suite, *([self.part] if self.part else []), str(self.length)])


class Plan:
    """The units of a run.

    Args:
        opened: run with weights.
        options: options of the suites.

    Raises:
        UserError: the tokens of the run are no text, or an option cannot work.
    """

    def __init__(self, opened: OpenedRun, options: SuitesConfig) -> None:
        self._opened, self._options, self._weights = opened, options, opened.weights
        found = vocabulary_of(opened.task)
        if found is None:
            raise UserError(_no_text(opened))
        self.vocabulary: Vocabulary = found
        self._sequences = cache(self._draw)
        packed = getattr(opened.config.data, "documents", JOINED) == PACKED
        self._kind = options.documents or (WHOLE if packed else JOINED)
        _check(options)

    @property
    def lengths(self) -> list[int]:
        """The lengths of sequences, increasing."""
        data = self._opened.config.data
        given = self._options.lengths or [data.length * factor for factor in data.length_factors]
        return sorted(set(given))

    def units(self, suite: str) -> Iterator[Unit]:
        """Yield the units of a suite, the shortest sequences first."""
        for length in self.lengths:
            if suite == "ruler":
                yield from (self._ruler(task, length) for task in self._tasks)
            elif suite == "recall":
                yield self._unit("recall", length, self._recall(length), self._documents)
            elif suite == "identifiers":
                yield self._unit("identifiers", length, self._identifiers(length), self._code[0])
            else:
                yield self._unit("text", length, self._text(length), self._documents)

    @property
    def _tasks(self) -> list[str]:
        wanted = self._options.ruler.tasks
        return [task for task in ruler.ORDER if wanted is None or task in wanted]

    def _unit(self, suite: str, length: int, compute: Compute, documents: Documents | None, part: str = "") -> Unit:
        """Return a unit; ``documents`` are those that it is computed on."""
        options = self._options
        common = {"version": VERSION, "weights": self._weights, "length": length, "column": options.column}
        common |= {"share": options.share, "samples": options.samples, "seed": options.seed}
        own: dict[str, Any] = {} if suite == "ruler" else {"documents": self._kind}
        if suite == "recall":
            own |= vars(options.recall)
        if self._begins:
            own |= {"begin": self.vocabulary.begin}
        if documents is not None:
            own |= {"source": documents.source, "files": documents.version}
        return Unit(suite, part, length, plain(common | own), compute)

    def _text(self, length: int) -> Compute:
        def compute(subject: Subject, advance: Advance) -> Result:
            return text.evaluate(subject, self._sequences(length), self.vocabulary, advance)

        return compute

    def _recall(self, length: int) -> Compute:
        options = self._options.recall
        size = options.ngram or (BYTE_NGRAM if self.vocabulary.byte_lengths.max() == 1 else TOKEN_NGRAM)

        def compute(subject: Subject, advance: Advance) -> Result:
            given = self._sequences(length)
            found = recall.earlier(given, size)
            parts = training(self._opened.task, options.counted)
            return recall.evaluate(
                subject, given, found, recall.frequent(found.ngram, parts, size, options.most), advance
            )

        return compute

    def _identifiers(self, length: int) -> Compute:
        def compute(subject: Subject, advance: Advance) -> Result:
            options = self._options
            own = length - self._begins
            given, names = identifiers.renamed_sequences(*self._code, own, options.samples, options.seed, self._kind)
            names = names._replace(first=names.first + self._begins, last=names.last + self._begins)
            return identifiers.evaluate(subject, self._begun(given), names, self.vocabulary, advance)

        return compute

    def _ruler(self, task: str, length: int) -> Unit:
        def compute(subject: Subject, advance: Advance) -> Result:
            problem = ruler.TEXT_TASKS[task](self._lines) if task in ruler.TEXT_TASKS else ruler.TASKS[task](length)
            options = self._options
            return ruler.evaluate(
                subject, task, problem, length, options.samples, options.seed, self.vocabulary, advance
            )

        return self._unit("ruler", length, compute, self._documents if task in ruler.TEXT_TASKS else None, task)

    def _draw(self, length: int) -> Tensor:
        own = length - self._begins
        return self._begun(sequences(self._documents, own, self._options.samples, self._options.seed, self._kind))

    @property
    def _begins(self) -> int:
        """The number of tokens that stand before the text of a sequence: 1 with a begin token, else 0."""
        return int(self.vocabulary.begin is not None)

    def _begun(self, rows: Tensor) -> Tensor:
        """Put the begin token of the vocabulary, if there is one, before sequences [n, T]."""
        if self.vocabulary.begin is None:
            return rows
        return torch.cat([torch.full_like(rows[:, :1], self.vocabulary.begin), rows], dim=1)

    @cached_property
    def _lines(self) -> Lines:
        return ruler.haystack(self._documents, self._options.seed)

    @cached_property
    def _documents(self) -> Documents:
        found = held_out(self._opened.task, self.vocabulary, self._options.path, self._options.column)
        if found is None:
            raise UserError(
                f"run={self._opened.run.path} was trained on {self._opened.task.name} without running text; give a "
                "file or folder of text with suites.path, or suite=[identifiers], or suites.ruler.tasks without text: "
                f"{', '.join(ruler.TASKS)}."
            )
        return found

    @cached_property
    def _code(self) -> tuple[Documents, Language]:
        """The source files and their language: of the option, of the run if it has some, else Python's own."""
        path, vocabulary, task = self._options.identifiers.path, self.vocabulary, self._opened.task
        if path is None:
            documents = held_out(task, vocabulary, self._options.path, self._options.column)
            found = None if documents is None else identifiers.source_files(documents)
            return found or (standard_library(task, vocabulary, OWN_CODE), PYTHON)
        documents = given(task, vocabulary, OWN_CODE, path, self._options.column)
        if (found := identifiers.source_files(documents)) is None:
            raise UserError(f"{OWN_CODE}={path} has no Python or C source; give a file or folder with .py, .c or .h.")
        return found


def _check(options: SuitesConfig) -> None:
    """Raise a UserError for a word that is unknown, or a list without items."""
    if options.documents not in (None, *KINDS):
        raise UserError(f"suites.documents={options.documents} is unknown; choose one of: {', '.join(KINDS)}.")
    for task in options.ruler.tasks or ():
        if task not in ruler.ORDER:
            raise UserError(f"suites.ruler.tasks={task} is unknown; choose one of: {', '.join(ruler.ORDER)}.")
    for option, empty in (("lengths", options.lengths == []), ("ruler.tasks", options.ruler.tasks == [])):
        if empty:
            raise UserError(f"suites.{option}=[] is empty; give at least one, or omit suites.{option}.")


def _no_text(opened: OpenedRun) -> str:
    """Return the message for a run whose tokens are no text."""
    task = opened.task
    if hasattr(task, "vocabulary"):
        return (
            f"run={opened.run.path} was trained on {task.name} of an unknown tokenizer, and the suites need "
            "their text; give a run that was trained with data.tokenizer."
        )
    return (
        f"run={opened.run.path} was trained on {task.name}, whose tokens are no text, and the suites need text; give a "
        "run on data=text, tokens, identifiers or needle, or use share= on this one."
    )
