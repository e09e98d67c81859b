"""Encodings by byte-order marks."""

import pytest

from nas.data.encodings import encoding_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_names_the_encoding(encoding: str) -> None:
    assert encoding_of("Grüße".encode(encoding)) == encoding
    assert encoding_of("".encode(encoding)) == encoding
