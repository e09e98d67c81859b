"""Options of the loggers: each file selects one of them, and several can be selected."""

from dataclasses import fields

import pytest
import yaml

from nas.config import CONF
from nas.options.logging import LoggerConfig
from nas.runs.options import LOGGING
from tests.nas.commands import SEARCH, composed


@pytest.mark.parametrize(
    ("given", "selected"),
    [("", set()), ("logger=csv", {"csv"}), ("logger=[tensorboard,csv,mlflow]", {"csv", "mlflow"})],
)
def test_loggers_are_selected_one_or_several(given: str, selected: set[str]) -> None:
    logger = composed("search", *SEARCH, *([given] if given else [])).logger
    assert {name for name in ("csv", "wandb", "mlflow") if getattr(logger, name)} == selected


def test_every_file_is_a_logger_and_every_option_may_change_when_a_run_is_resumed() -> None:
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONF / "logger").glob("*.yaml")}
    assert files.pop("tensorboard") == {}
    assert files == {name: {name: True} for name in ("csv", "wandb", "mlflow")}
    assert {f"logger.{own.name}" for own in fields(LoggerConfig)} == {*LOGGING}
