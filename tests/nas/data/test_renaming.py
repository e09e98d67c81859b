"""Renamed source code: code is otherwise as it was, in Python and in C."""

import re

import pytest
import torch

from nas.data.renaming import PYTHON, C, code_of, renamed
from nas.errors import UserError


def test_names_in_code_are_replaced_and_nothing_else() -> None:
    text = b"\nprefix = prefix if prefix else other  # prefix\nreturn f'prefix {x}', prefix.method(), m\xc3\xa9tiers\n"
    piece = renamed(text, code_of(torch.frombuffer(bytearray(text), dtype=torch.uint8)).numpy().tobytes(), seeded())
    prefix, other, method = re.findall(rb"^(\w+) = \w+ if \w+ else (\w+) .*\.(\w+)\(", piece.code, re.M | re.S)[0]
    expected = text.replace(b"prefix =", prefix + b" =").replace(b"prefix if prefix", prefix + b" if " + prefix)
    expected = expected.replace(b"other", other).replace(b"prefix.method", prefix + b"." + method)
    assert piece.code == expected
    assert [len(name) for name in (prefix, other, method)] == [6, 5, 6]
    assert len({b"prefix", b"other", b"method", prefix, other, method}) == 6
    starts = [match.start() for match in re.finditer(prefix, piece.code)]
    assert piece.scored == [start + letter for start in starts[1:] for letter in (3, 4, 5)]
    assert set(piece.first) == {(starts[0], 6)}


def test_names_that_the_ends_may_cut_are_kept() -> None:
    text = b"prefix prefix prefix"
    assert re.fullmatch(rb"prefix (?!prefix)\w{6} prefix", renamed(text, b"\1" * len(text), seeded()).code)


def test_a_comment_or_string_is_no_code() -> None:
    text = b"""a = 'it"s' # "no"\nb = "\\"#" + 'c'\nd = '''e\n'f' \\'''g''' + h\n"""
    code = code_of(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    kept = bytes(byte if own else ord("_") for byte, own in zip(text, code.tolist(), strict=True))
    assert kept.replace(b"_", b"") == b"a =  \nb =  + \nd =  + h\n"


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_more_names_than_beginnings_are_refused() -> None:
    every = b" ".join(b"%c%c%c" % (97 + n // 676, 97 + n // 26 % 26, 97 + n % 26) for n in range(26**3))
    with pytest.raises(UserError, match=r"a sequence of 70312 bytes has more identifiers than there are beginnings"):
        renamed(every + b"  prefix ", b"\1" * 70312, seeded())


def test_later_occurrences_know_the_one_before() -> None:
    text = b" prefix other1 prefix prefix other1 "
    later = renamed(text, b"\1" * len(text), seeded()).later
    assert later == [(15, 21, 1), (22, 28, 15), (29, 35, 8)]


def test_names_in_c_are_replaced_outside_comments_strings_and_directives() -> None:
    text = (
        b"\n#include <linux/module.h>\n#define MODULE 1 /* MODULE\n * MODULE */\nstatic struct module *module;"
        b" // module\nunsigned value = MODULE; printk(\"module %d\", value, 'm');\n"
    )
    code = code_of(torch.frombuffer(bytearray(text), dtype=torch.uint8), C).numpy().tobytes()
    made = renamed(text, code, seeded(), C.keywords).code
    assert made.count(b"MODULE") == 2
    assert made.count(b"module") == 3
    assert b"unsigned" in made
    assert b"static struct " in made
    (macro,) = re.findall(rb"#define (\w+) 1", made)
    assert re.search(rb"unsigned (\w{5}) = " + macro + rb"; \w{6}\(.*, \1, 'm'\);", made)
    assert renamed(text, code, seeded(), PYTHON.keywords).code.count(b"unsigned") == 0
