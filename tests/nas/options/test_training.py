"""Options of training: their files give every option a value that needs one."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from omegaconf import MISSING

from nas.config import CONF, SCHEMAS

FILES = [path for group in ("relaxation", "budget", "trainer") for path in (CONF / group).glob("*.yaml")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_gives_the_options_of_its_schema(path: Path) -> None:
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    defaults = given.pop("defaults")
    every = {own.name: own.default for own in fields(SCHEMAS[f"{path.parent.name}/schema"])}
    assert given.keys() <= every.keys()
    if "schema" in defaults:  # not on top of another file
        assert {name for name, default in every.items() if default == MISSING} <= given.keys()
