import json
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.pretrained.fields import Fields, read_config


def test_fields_are_checked_as_they_are_read() -> None:
    fields = Fields({"a": 0, "b": "x", "c": None, "d": 3}, "config.json", {"c": 4, "d": 5})
    assert (fields.count("c"), fields.count("d"), fields.count("e", 6)) == (4, 3, 6)
    for read, message in (
        (lambda: fields.count("a"), "config.json has a=0; it must be an integer of at least 1."),
        (lambda: fields.count("e"), "config.json has no e; give"),
        (lambda: fields.number("b", 1), "b='x'; it must be a number over 0"),
        (lambda: fields.flag("b"), "b='x'; it must be true or false"),
        (lambda: fields.text("a", ""), "a=0; it must be a text"),
        (lambda: fields.group("a"), "a=0; it must be an object"),
    ):
        with pytest.raises(UserError, match=message):
            read()


def test_a_folder_needs_a_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing: there is no such folder"):
        read_config(tmp_path / "missing")
    with pytest.raises(UserError, match=r"has no config\.json; give a folder that save_pretrained"):
        read_config(tmp_path)
    for text, message in (("{", "cannot be read"), ("[]", "is not a JSON object"), ("[" * 10**5, "cannot be read")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"width": 2}))
    assert read_config(tmp_path).count("width") == 2
