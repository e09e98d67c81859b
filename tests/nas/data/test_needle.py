"""Needles: the value is stated once at a random place and queried at the end, in each form."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args
from zlib import crc32

import pytest
import torch

from nas.data.batch import IGNORE, Batch, Part
from nas.data.needle import FORMS, NOISE, Needle
from nas.errors import UserError

LINES = b"".join(b"line %05d\n" % line for line in range(2000))  # 22,000 bytes, no two lines alike
VALUE = {"noise": rb"[1-9][0-9]{6}", "text": rb"[1-9][0-9]{6}", "digits": rb"[0-9a-f]{32}"}


@pytest.fixture
def lines(tmp_path: Path) -> str:
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES)
    return str(path)


def needle(form: str = "noise", path: str | None = None, **changed: Any) -> Needle:
    options: dict[str, Any] = {"length": 256, "min_length": None, "value_length": None, "batch_size": 8}
    options |= {"validation_batches": 3, "seed": 0} | changed
    return Needle(form=form, path=None if form == "noise" else path, **options)


def sequences(batch: Batch) -> list[bytes]:
    """Return each sequence with its last target."""
    return [bytes(t.tolist() + y[-1:].tolist()) for t, y in zip(batch.tokens, batch.targets, strict=True)]


def haystacks(batch: Batch) -> list[bytes]:
    """Return each sequence without needle and question."""
    found = []
    for sequence in sequences(batch):
        before, _, rest = sequence.partition(b"\nOne of the special magic ")
        found.append(before + rest.partition(b".\n")[2].partition(b"\nThe special magic ")[0])
    return found


@pytest.mark.parametrize("form", FORMS)
def test_the_value_is_stated_once_and_queried_at_the_end(form: str, lines: str) -> None:
    batch = needle(form, lines).train_batch(0)
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert batch.planted is not None
    kind = b"uuid" if form == "digits" else b"number"
    for sequence, targets, planted in zip(sequences(batch), batch.targets, batch.planted, strict=True):
        stated = re.search(rb"One of the special magic %ss for ([a-z-]+) is: (%s)\." % (kind, VALUE[form]), sequence)
        assert stated is not None
        key, value = stated.groups()
        assert sequence.endswith(b"\nThe special magic %s for %s is: %s" % (kind, key, value))
        assert sequence.count(value) == 2
        assert bytes(targets[targets != IGNORE].tolist()) == value
        assert (targets[: -len(value)] == IGNORE).all()
        assert planted.nonzero().flatten().tolist() == list(range(*stated.span()))


@pytest.mark.parametrize("form", FORMS)
def test_only_the_key_in_the_question_tells_needles_apart(form: str, lines: str) -> None:
    task = needle(form, lines, distractors=4, length=768)
    for batch in (task.full_batch(0), *task.validation_batches(2)):
        assert batch.planted is not None
        ranks = set()
        for sequence, targets, planted in zip(sequences(batch), batch.targets, batch.planted, strict=True):
            found = list(
                re.finditer(rb"One of the special magic \w+s for ([a-z-]+) is: (%s)\." % VALUE[form], sequence)
            )
            keys, values = zip(*(one.groups() for one in found), strict=True)
            asked = re.findall(rb"\nThe special magic \w+ for ([a-z-]+) is: ", sequence)
            rank = keys.index(asked[0])
            assert len(set(keys)) == len(set(values)) == 5
            assert bytes(targets[targets != IGNORE].tolist()) == values[rank]
            assert planted.nonzero().flatten().tolist() == list(range(*found[rank].span()))
            ranks.add(rank)
        assert len(ranks) > 1


def test_shorter_sequences_have_as_many_distractors_as_fit() -> None:
    task = needle(distractors=4, length=512)
    needles = {
        (one.tokens.shape[1], sequence.count(b"One of the special"))
        for one in map(task.train_batch, range(30))
        for sequence in sequences(one)
    }
    assert needles == {(512, 5), (256, 3), (128, 1)}


def test_a_distractor_has_another_value() -> None:
    batch = needle(distractors=2, value_length=1, batch_size=400).full_batch(0)
    for sequence in sequences(batch):
        values = re.findall(rb"for [a-z-]+ is: (\d)\.", sequence)
        assert values.count(sequence[-1:]) == 1


def test_each_haystack_is_its_own(lines: str) -> None:
    assert all(found == (NOISE * 9)[: len(found)] for found in haystacks(needle().full_batch(0)))
    found = haystacks(needle("text", lines).full_batch(0))
    assert all(haystack in LINES for haystack in found)
    assert len(set(found)) == len(found)


def test_the_needle_stands_anywhere() -> None:
    batch = needle(batch_size=4000).full_batch(0)
    assert batch.planted is not None
    starts = batch.planted.int().argmax(1)
    assert starts.min() == 1
    quarters = torch.histc(starts.float(), bins=4) / 4000
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.06, rtol=0)


def numbers(batches: Iterable[Batch]) -> set[int]:
    """Of the lines that stand whole in their haystacks."""
    return {int(line) for batch in batches for text in haystacks(batch) for line in re.findall(rb"line (\d{5})", text)}


def test_training_and_validation_haystacks_are_of_different_bytes(lines: str) -> None:
    task = needle("text", lines)  # the last tenth of one file validates
    assert max(numbers([*map(task.train_batch, range(9)), task.full_batch(0)])) < 1800
    assert min(numbers([*task.validation_batches(), *task.selection_batches(2)])) >= 1800


def test_bilevel_parts_have_no_haystack_in_common(lines: str) -> None:
    task = needle("text", lines)
    weights, choices = (
        numbers(task.train_batch(step, part) for step in range(9)) for part in get_args(Part) if part != "all"
    )
    assert max(weights) < min(choices)


def test_lengths_are_halved_down_to_where_a_needle_has_room() -> None:
    assert {needle(length=512).train_batch(step).tokens.shape for step in range(40)} == {(8, 512), (8, 256), (8, 128)}
    assert {needle("digits").train_batch(step).tokens.shape for step in range(20)} == {(8, 256), (8, 192)}
    assert {needle(min_length=256).train_batch(step).tokens.shape for step in range(20)} == {(8, 256)}
    assert {needle(min_length=150).train_batch(step).tokens.shape for step in range(20)} == {(8, 256), (8, 150)}
    assert {needle(length=125).train_batch(step).tokens.shape for step in range(20)} == {(8, 125)}


@pytest.mark.parametrize("form", FORMS)
def test_validation_is_at_full_length_and_fixed(form: str, lines: str) -> None:
    for factor in (1, 4):
        batches, again = (needle(form, lines).validation_batches(factor) for _ in range(2))
        assert [tuple(batch.tokens.shape) for batch in batches] == [(8 // factor, 256 * factor)] * 3
        assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(batches, again, strict=True))


def test_the_length_of_a_value_can_be_given() -> None:
    batch = needle(value_length=3).train_batch(0)
    assert (batch.targets != IGNORE).sum(1).unique().tolist() == [3]


def test_running_text_is_the_standard_library_by_default() -> None:
    found = b"".join(b"".join(haystacks(batch)) for batch in needle("text").validation_batches(8))
    assert b"self" in found


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"form": "essay"}, "data.form=essay is unknown; choose one of: noise, text, digits"),
        ({"length": 100}, r"data.length=100 has no room .* values of 7 characters; give at least 122"),
        (
            {"form": "digits", "length": 128},
            r"data.length=128 has no room .* values of 32 characters; give at least 168",
        ),
        ({"min_length": 64}, "data.min_length=64 has no room"),
        ({"distractors": 16}, r"data.distractors=16 do not fit: data.length=256 has room for 2 .*; give at most 2"),
        ({"min_length": 512}, "data.min_length=512 is more than data.length=256"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_work_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        needle(**changed)


def test_a_sequence_of_the_minimum_length_fits(lines: str) -> None:
    with pytest.raises(UserError) as caught:
        needle("digits", lines, length=100)
    least = int(str(caught.value).partition("at least ")[2].partition(",")[0])
    assert needle("digits", lines, length=least, batch_size=500).train_batch(0).tokens.shape == (500, least)


def test_a_path_without_effect_on_noise_is_refused(lines: str) -> None:
    with pytest.raises(UserError, match=r"data.path=.* has no effect with data.form=noise; choose"):
        Needle(
            form="noise",
            path=lines,
            length=256,
            min_length=None,
            value_length=None,
            batch_size=1,
            validation_batches=1,
            seed=0,
        )


def test_a_text_too_short_is_refused(lines: str) -> None:
    with pytest.raises(UserError, match="is too short: a validation sequence needs 4,097 bytes"):
        needle("text", lines, length=4096)
    with pytest.raises(UserError, match="is too short: a validation sequence needs 16,385 bytes"):
        needle("text", lines).validation_batches(64)


def test_chance_is_a_guess_among_all_values() -> None:
    assert needle(value_length=3).chance() == pytest.approx(1 / 900)  # 100 to 999


def test_the_defaults_draw_the_data_of_earlier_versions() -> None:
    for options in ({}, {"distractors": 0}):
        batches = needle(**options).train_batch(0), needle(**options).validation_batches(2)[0]
        assert [crc32(batch.tokens.numpy().tobytes()) for batch in batches] == [3546719972, 2569801368]
