"""The tasks by name, and their evaluation."""

import re
from collections.abc import Callable, Sequence

import torch

from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.suites.documents import Documents
from nas.suites.result import Result, Score
from nas.suites.ruler.needles import Lines, Needles, repeated
from nas.suites.ruler.prompts import Fitted, Key, Problem, drawn, fitted
from nas.suites.ruler.variables import Variables
from nas.suites.ruler.words import CommonWords, FrequentWords
from nas.suites.subject import Advance, Subject

TASKS: dict[str, Callable[[int], Problem]] = {
    "single_1": lambda length: Needles(repeated),
    "multikey_2": lambda length: Needles(None),
    "multikey_3": lambda length: Needles(None, with_identifiers=True),
    "variable_tracking": lambda length: Variables(),
    "common_words": CommonWords,
    "frequent_words": lambda length: FrequentWords(),
}
"""Tasks without running text, each made from the tokens of a sequence."""
TEXT_TASKS: dict[str, Callable[[Lines], Problem]] = {
    "single_2": lambda lines: Needles(lines),
    "single_3": lambda lines: Needles(lines, with_identifiers=True),
    "multikey_1": lambda lines: Needles(lines, keys=4),
    "multivalue": lambda lines: Needles(lines, values=4),
    "multiquery": lambda lines: Needles(lines, keys=4, queries=4),
}
"""Tasks in running text, each made from its lines."""
ORDER = (
    *("single_1", "single_2", "single_3", "multikey_1", "multikey_2", "multikey_3", "multivalue", "multiquery"),
    *("variable_tracking", "common_words", "frequent_words"),
)
"""All tasks, as tables list them."""
SCORE = "score"
SPARE = 8
"""Tokens of an output beyond twice those of the answer."""
ANSWERS = 8
"""Answers whose tokens are counted to set the number of tokens of an output."""
SHOWN = 3
"""Number of outputs that a result shows."""
END_OF_PROMPT = 120
"""Characters of a prompt that a result shows."""
HAYSTACK = 2**22
"""Bytes of text from which haystacks are drawn."""
CONTROL = re.compile(r"[\x00-\x1f]")
"""Matches control characters, which RULER replaces in outputs."""


def haystack(documents: Documents, seed: int) -> Lines:
    """Return lines of held-out documents; raise a UserError if there are none."""
    text = bytearray()
    for document in documents.shuffled(seed):
        text += document.text() + b"\n"
        if len(text) >= HAYSTACK:
            break
    lines = text[:HAYSTACK].decode("utf-8", "surrogateescape").split("\n")
    found = [line for line in lines if line.strip()]
    if not found:
        raise UserError(f"{documents.source} has no text for haystacks; give text with {documents.option}.")
    return Lines(found)


def evaluate(
    subject: Subject,
    task: str,
    problem: Problem,
    length: int,
    samples: int,
    seed: int,
    vocabulary: Vocabulary,
    advance: Advance,
) -> Result:
    """Return the score of a task: the mean share of the answers that occur in the output.

    Args:
        subject: the model.
        task: name of the task.
        problem: the task.
        length: largest number of tokens of a prompt and its output together.
        samples: number of prompts.
        seed: seed of the prompts.
        vocabulary: vocabulary of the run.
        advance: see `nas.suites.subject.Advance`.

    Raises:
        UserError: a prompt does not fit.
    """

    def encode(text: str) -> list[int]:
        return vocabulary.encode(text.encode("utf-8", "surrogateescape"))

    keys: list[Key] = [(seed, "ruler", task, index) for index in range(samples)]
    expected = [drawn(problem, problem.least, key).expected for key in keys[:ANSWERS]]
    output = 2 * max(len(encode(text)) for text in expected) + SPARE
    prompts: list[Fitted] = []
    for key in keys:
        like = prompts[0] if prompts else None
        if (found := fitted(problem, length - output, lambda text: vocabulary.begun(encode(text)), key, like)) is None:
            raise UserError("the shortest prompt and its output do not fit; give more for suites.lengths.")
        prompts.append(found)
    tokens = subject.answer([torch.tensor(one.tokens) for one in prompts], output, advance)
    outputs = [_text(vocabulary, own) for own in tokens.tolist()]
    shares = [share_of(one.prompt.answers, text) for one, text in zip(prompts, outputs, strict=True)]
    return Result(
        suite="ruler",
        part=task,
        length=length,
        sequences=samples,
        scores={SCORE: Score.of(torch.tensor(shares), torch.ones(samples), samples)},
        chance={SCORE: 0.0},
        examples=[
            {"prompt": one.prompt.text[-END_OF_PROMPT:], "output": text, "answers": ", ".join(one.prompt.answers)}
            for one, text in zip(prompts[:SHOWN], outputs, strict=False)
        ],
    )


def share_of(answers: Sequence[str], output: str) -> float:
    """Return the share of the answers that occur in an output, in upper or lower case.

    >>> share_of(["ab", "Cd"], "AB and more")
    0.5
    """
    found = CONTROL.sub("\n", output).strip().lower()
    return sum(answer.lower() in found for answer in answers) / len(answers)


def _text(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    """Return the text of an output up to its end token. A model may have more ids than the vocabulary, without text."""
    end = tokens.index(vocabulary.end) if vocabulary.end in tokens else len(tokens)
    return vocabulary.decode([token for token in tokens[:end] if token < vocabulary.size]).decode("utf-8", "replace")
