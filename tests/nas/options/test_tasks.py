"""Options of the tasks."""

import inspect
from dataclasses import fields

import pytest

from nas.config import SCHEMAS
from nas.data import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_a_task_takes_its_options(name: str) -> None:
    options = {own.name for own in fields(SCHEMAS[f"data/{name}_schema"])}
    assert options - {"name", "length_factors"} == inspect.signature(TASKS[name]).parameters.keys() - {"seed"}
