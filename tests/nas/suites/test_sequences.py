"""Sequences of documents: disjoint, each from the start of a document where there are enough."""

import pytest
import torch

from nas.errors import UserError
from nas.suites.sequences import WHOLE, sequences
from tests.nas.suites.fakes import documents


def texts(found: torch.Tensor) -> set[bytes]:
    return {bytes(token if token < 256 else ord("|") for token in row) for row in found.tolist()}


def test_a_sequence_continues_with_the_next_document() -> None:
    held = documents(b"aaaaa", b"bbbbb", b"ccccc", b"", end=256)
    (found,) = texts(sequences(held, 7, 2, seed=0))
    assert len(found) == 8
    assert found[5:6] == b"|"  # the end of the first document
    assert {*found[:5]} != {*found[6:]}
    (without,) = texts(sequences(documents(b"aaaaa", b"bbbbb"), 7, 2, seed=0))
    assert without in (b"aaaaabbb", b"bbbbbaaa")


def test_whole_documents_alone_are_long_enough() -> None:
    held = documents(b"abcdefgh", b"xyz", b"ABCDEFGHIJ")
    assert texts(sequences(held, 7, 5, 0, WHOLE)) == {b"abcdefgh", b"ABCDEFGH"}
    with pytest.raises(UserError, match=r"the test cannot fill a sequence of 10 tokens: none of them has 11 tokens"):
        sequences(held, 10, 5, 0, WHOLE)
    with pytest.raises(UserError, match=r"all together do not have 101 tokens; give less for suites.lengths"):
        sequences(held, 100, 5, 0)


def test_each_document_is_used_before_a_second_sequence_of_one() -> None:
    long, other = bytes(range(100)), bytes(range(100, 200))
    assert texts(sequences(documents(long, other), 9, 2, 0)) == {long[:10], other[:10]}
    spread = texts(sequences(documents(long), 9, 2, 0))
    assert spread == {long[:10], long[50:60]}
    every = texts(sequences(documents(long, other), 9, 99, 0))
    assert every == {text[start : start + 10] for text in (long, other) for start in range(0, 100, 10)}


def test_the_order_depends_on_the_seed_alone() -> None:
    held = documents(*(bytes([index] * 20) for index in range(30)))
    first = sequences(held, 9, 4, 0)
    assert torch.equal(first, sequences(held, 9, 4, 0))
    assert not torch.equal(first, sequences(held, 9, 4, 1))
    assert torch.equal(first[:, :5], sequences(held, 19, 4, 0)[:, :5])  # a longer sequence begins like a shorter one
