"""Programs that read a sequence as text and answer its question."""

from collections import Counter
from typing import Any

from nas.data.batch import IGNORE, Batch
from nas.data.ruler import Ruler

OPTIONS: dict[str, Any] = {
    "words": 64,
    "noise": 16,
    "distractors": 0,
    "length": 128,
    "min_length": None,
    "batch_size": 8,
    "validation_batches": 2,
    "seed": 0,
}


def ruler(problem: str, **changed: Any) -> Ruler:
    return Ruler(problem=problem, **{**OPTIONS, **changed})


def read(task: Ruler, batch: Batch) -> list[tuple[list[str], list[str], list[str]]]:
    """Return context, question and answer of each sequence, as texts of tokens."""
    found = []
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        texts = [task.token_text(token) for token in tokens]
        asked = texts.index("?")
        given = texts.index("=", asked)
        answer = [task.token_text(target) for target in targets if target != IGNORE]
        assert targets[:given] == [IGNORE] * given
        assert texts[given + 1 :] == answer[:-1]
        found.append((texts[:asked], texts[asked + 1 : given], answer))
    return found


def solve(problem: str, context: list[str], question: list[str]) -> list[str]:
    """Return the answer to a question on a context; fail if there are several."""
    if problem in ("common_words", "frequent_words"):
        return count(problem, context)
    starts = [place for place, text in enumerate(context) if text == "!"]
    if problem == "variable_tracking":
        return follow(context, starts, question)
    length = len(question)
    (found,) = (start for start in starts if context[start + 1 : start + 1 + length] == question)
    value = found + 2 + length
    assert context[value - 1] == "="
    return context[value : value + (8 if problem == "multikey_3" else 7)]


def follow(context: list[str], starts: list[int], value: list[str]) -> list[str]:
    """Return all variables with a value, from assignment to assignment."""
    given = {context[start + 1]: context[start + 3 : start + 5] for start in starts}
    chain = [variable for variable, right in given.items() if right == value]
    while following := [variable for variable, right in given.items() if right[0] == chain[-1]]:
        chain += following
    return chain


def count(problem: str, context: list[str]) -> list[str]:
    """Return the most frequent words; fail if equal counts make the answer ambiguous."""
    ranked = Counter(text for text in context if text.startswith("w")).most_common()
    words, counts = [word for word, _ in ranked], [count for _, count in ranked]
    if problem == "frequent_words":
        assert counts[0] > counts[1] > counts[2] > counts[3]
        return words[:3]
    assert len(counts) == 4 or counts[3] > counts[4]
    return sorted(words[:4], key=lambda word: int(word[1:]))
