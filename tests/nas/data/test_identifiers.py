"""Renamed identifiers: code is otherwise as it was, and the context alone determines every scored byte."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from nas.data.batch import IGNORE, Batch, Part
from nas.data.identifiers import Identifiers
from nas.errors import UserError

LINES = b"".join(b'if value_%04d: value_%04d = "value_%04d"  # value_%04d\n' % ((n,) * 4) for n in range(2000))


@pytest.fixture
def lines(tmp_path: Path) -> str:
    path = tmp_path / "lines.py"
    path.write_bytes(LINES)
    return str(path)


def identifiers(path: str | None, **changed: Any) -> Identifiers:
    options = {"length": 256, "queries": 8, "batch_size": 8, "validation_batches": 2, "seed": 0} | changed
    return Identifiers(path=path, **options)


def guess(given: bytes) -> int:
    """Return the byte that continues the last word of a text as an earlier word with the same beginning does."""
    *earlier, last = re.findall(rb"[\w\x80-\xff]+", given)
    (word,) = {word for word in earlier if word.startswith(last)}
    return int(word[len(last)])


def scored(batch: Batch) -> list[tuple[bytes, int, list[bool]]]:
    """Return each scored byte: the bytes before it, the target, and which of them are planted."""
    assert batch.planted is not None
    return [
        (bytes(tokens[: place + 1]), target, planted[: place + 1])
        for tokens, targets, planted in zip(*(part.tolist() for part in batch[:3]), strict=True)
        for place, target in enumerate(targets)
        if target != IGNORE
    ]


@pytest.mark.parametrize("own", [True, False], ids=["file", "standard library"])
def test_a_program_that_reads_the_context_predicts_every_scored_byte(own: bool, lines: str) -> None:
    task = identifiers(lines if own else None)
    for batch in (task.train_batch(0), task.full_batch(1), *task.validation_batches(4), *task.selection_batches(1)):
        found = scored(batch)
        assert len(found) == 8 * len(batch.tokens)
        assert all(guess(given) == target for given, target, _ in found)
        for given, target, planted in found:  # the planted names alone are enough
            kept = bytes(byte if needed else ord(" ") for byte, needed in zip(given, planted, strict=True))
            last = re.findall(rb"\w+", given)[-1]
            assert guess(kept + b" " + last) == target


def test_the_best_guess_without_context_is_at_chance(lines: str) -> None:
    targets = identifiers(lines, batch_size=400).full_batch(0).targets
    counts = torch.bincount(targets[targets != IGNORE] - ord("a"), minlength=26)
    assert len(counts) == 26
    assert counts.max() / counts.sum() == pytest.approx(identifiers(lines).chance(), abs=0.01)


@pytest.mark.parametrize("part", get_args(Part))
def test_strings_and_comments_stay_in_every_part(part: Part, lines: str) -> None:
    batches = [identifiers(lines).train_batch(step, part) for step in range(4)]
    rows = [bytes(row) for batch in batches for row in batch.tokens.tolist()]
    whole = [re.findall(rb'\nif (\w+): (\w+) = "(\w+)"  # (\w+)\n', row) for row in rows]
    assert all(len(found) >= 2 for found in whole)
    for condition, name, string, comment in (line for found in whole for line in found):
        assert condition == name != string == comment
    numbers = {int(string[-4:]) for found in whole for _, _, string, _ in found}
    cut = 1440  # the last tenth validates, and the last fifth of the rest is for choices
    assert (min(numbers) >= cut) if part == "choices" else (max(numbers) < (cut if part == "weights" else 1800))


def test_each_sequence_has_names_of_its_own_and_depends_on_seed_and_step_alone(lines: str) -> None:
    task = identifiers(lines)
    first = task.train_batch(3).tokens
    task.train_batch(4)
    assert torch.equal(first, task.train_batch(3).tokens)
    others = (task.train_batch(4), task.full_batch(3), identifiers(lines, seed=1).train_batch(3))
    assert not any(torch.equal(first, other.tokens) for other in others)
    names = [set(re.findall(rb"\nif (\w+):", bytes(row))) for row in first.tolist()]
    assert len(set().union(*names)) == sum(map(len, names))


def test_code_without_recurring_names_is_refused(lines: str) -> None:
    with pytest.raises(UserError, match=r"data.path=.*: 1000 pieces of 16 bytes have less than data.queries=8 bytes"):
        identifiers(lines, length=16).train_batch(0)
