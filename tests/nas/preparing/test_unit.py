"""The work on a unit: parts by content, and sums that do not depend on the order of documents."""

from pathlib import Path

import pytest

from nas.data.shards.vocabulary import Vocabulary
from nas.preparing.pieces import plan
from nas.preparing.unit import Counts, Settings, dtype_of, encode_unit, part_of
from tests.nas.preparing.preparing import TEXTS, config, write


def test_the_share_of_validation_is_that_of_the_option() -> None:
    heads = [f"document {number}".encode() for number in range(4000)]
    for share in (0.0, 0.1, 0.5, 1.0):
        found = sum(part_of(head, share) == "validation" for head in heads) / len(heads)
        assert abs(found - share) < 0.03
    assert all(part_of(head, 0.1) == "train" for head in heads if part_of(head, 0.2) == "train")


def test_white_space_does_not_change_the_part() -> None:
    for number in range(50):
        assert part_of(b"a %d\nb" % number, 0.5) == part_of(b" a   %d\r\n\tb\n" % number, 0.5)


def test_types_hold_the_vocabulary() -> None:
    assert [dtype_of(size) for size in (257, 2**16, 2**16 + 1)] == ["uint16", "uint16", "uint32"]


@pytest.mark.parametrize("shard_bytes", [500, 10**6])
def test_sums_do_not_depend_on_units(shard_bytes: int, tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus", TEXTS)
    (tmp_path / "tokens").mkdir()
    settings = Settings(str(corpus), "text", 0.2, str(tmp_path / "tokens"))
    reported: list[int] = []
    counts = Counts()
    for number, pieces in reversed(list(enumerate(plan(config(corpus, tmp_path, shard_bytes=shard_bytes)).units))):
        counts += encode_unit(settings, Vocabulary.of_bytes(), number, pieces, reported.append).counts
    assert sum(reported) == counts.bytes == sum(map(len, TEXTS.values()))
    assert counts.documents == len(TEXTS)
    assert f"{counts.digest:032x}" == "9c417ac705f8fc93c4b3482a8c598487"
