"""Renamed names: a model that copies predicts all of them, one that guesses none."""

import re

import pytest
import torch

from nas.data.renaming import PYTHON, C
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.suites.documents import Document
from nas.suites.identifiers import evaluate, language_of, renamed_sequences, source_files
from tests.nas.suites.fakes import Pairs, Predicting, copies, documents

CODE = b"def function(argument, another):\n    result = argument + another  # argument\n    return result\n\n\n"


@pytest.mark.parametrize("vocabulary", [Vocabulary.of_bytes(), Pairs()], ids=["bytes", "pairs"])
@pytest.mark.parametrize("end", [None, 256])
def test_a_model_that_copies_knows_every_name(vocabulary: Vocabulary, end: int | None) -> None:
    held = documents(CODE * 2, CODE.replace(b"result", b"total_sum"), CODE, vocabulary=vocabulary, end=end)
    sequences, names = renamed_sequences(held, PYTHON, 150, 2, seed=0)
    assert sequences.shape[1] == 151
    assert len(names.first) > 4
    rows = [bytes(vocabulary.decode(row)) for row in sequences.tolist()]
    assert all(b"def " in row and b"# argument" in row and b"result" not in row.split(b"#")[0] for row in rows)
    copied = evaluate(Predicting(copies), sequences, names, vocabulary, lambda count: None)
    assert copied.scores["accuracy on names"].value == 1.0
    assert copied.scores["accuracy on their tokens"].value == 1.0
    wrong = evaluate(
        Predicting(lambda row, place: not copies(row, place)), sequences, names, vocabulary, lambda count: None
    )
    assert wrong.scores["accuracy on names"].value == 0.0
    assert 0 < copied.chance["accuracy on names"] <= 1 / 26
    assert sum(one.score.count for one in copied.curves["accuracy on names by distance"]) == len(names.first)


def test_scored_tokens_and_distances_are_those_of_the_names() -> None:
    held = documents(b" alpha = 1\n alpha = alphabet\n" + b" " * 80)
    sequences, names = renamed_sequences(held, PYTHON, 60, 1, seed=3)
    text = bytes(sequences[0].tolist())
    new = re.findall(rb"\w{5,}", text)
    assert new[0] == new[1] != b"alpha"
    assert names.distance.tolist() == [11]
    start = text.index(new[0], 10)
    assert (names.first.tolist(), names.last.tolist()) == ([start + 3 - 1], [start + 5 - 1])  # targets are one later
    half = evaluate(
        Predicting(lambda row, place: place == start + 3), sequences, names, held.vocabulary, lambda count: None
    )
    assert half.scores["accuracy on names"].value == 0.0
    assert half.scores["accuracy on their tokens"].value == 0.5
    assert half.chance == pytest.approx({"accuracy on names": 26**-2, "accuracy on their tokens": 1 / 26})


def test_a_file_that_begins_in_a_string_is_masked_from_its_beginning() -> None:
    text = b'"""' + b"docstring " * 20 + b'"""\n' + b"variable = variable\n" * 5
    sequences, names = renamed_sequences(documents(text), PYTHON, 99, 3, seed=0)
    rows = [bytes(row) for row in sequences.tolist()]
    assert sum(row.count(b"docstring") for row in rows) >= 15
    assert not any(b"variable = " in row for row in rows)
    assert len(names.first) > 0


def test_source_files_are_recognised_and_the_most_frequent_language_is_taken() -> None:
    python, c = b"import os\nimport sys\n\ndef f():\n    pass\n", b"#include <a.h>\n#define A 1\nstatic int a;\n"
    assert language_of(Document("", lambda: python)) == PYTHON
    assert language_of(Document("", lambda: c)) == C
    assert language_of(Document("", lambda: b"Some prose about imports.\n")) is None
    assert language_of(Document("a/b.h", lambda: b"")) == C
    found = source_files(documents(python, c, c, b"prose"))
    assert found is not None
    assert found[1] == C
    assert [document.text() for document in found[0].every] == [c, c]
    assert source_files(documents(b"prose")) is None


def test_too_little_code_is_refused() -> None:
    with pytest.raises(UserError, match=r"cannot fill a sequence of 5,000 tokens"):
        renamed_sequences(documents(CODE), PYTHON, 5000, 1, seed=0)
    assert torch.is_tensor(renamed_sequences(documents(CODE), PYTHON, 20, 1, seed=0)[0])
