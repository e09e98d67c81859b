"""Loggers beside TensorBoard: what they get, and what is said where one cannot start."""

import csv
import sqlite3
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.options.logging import LoggerConfig
from nas.runs.folder import Run, read_json
from nas.runs.history import history
from nas.training import loggers
from nas.training.loggers import IDS, check_loggers
from tests.nas.commands import SHORT, SMALL, nas

TRAIN = ("architecture=linear-softmax", *SMALL, *SHORT)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "_is_installed", lambda package: False)
    with pytest.raises(UserError, match=rf"logger={name} needs .* pip install 'nas-hybrid-attention\[{name}\]'"):
        check_loggers(LoggerConfig(**{name: True}))
    check_loggers(LoggerConfig(csv=True))


def test_a_logger_that_cannot_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(loggers, "_mlflow", refuse)
    with pytest.raises(UserError, match=r"logger=mlflow cannot start: no route to host Give another logger"):
        loggers.loggers(LoggerConfig(mlflow=True), Run(tmp_path), 0)


def test_services_get_the_scalars_offline_and_a_resumed_run_continues_there(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    services = ("logger=[wandb,mlflow]", "logger.offline=true", "trainer.checkpoint_every=1")
    ended = nas("train", *TRAIN, *services, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    ids = read_json(ended.run / IDS)
    assert nas("train", f"resume={ended.run}", "trainer.steps=3").status == 0
    assert read_json(ended.run / IDS) == ids
    assert {path.name for path in ended.run.glob("wandb/offline-run-*/*.wandb")} == {f"run-{ids['wandb']}.wandb"}
    with sqlite3.connect(ended.run / "mlflow" / "mlflow.db") as database:
        found = database.execute(
            "select run_uuid, step, value from metrics where key = 'loss' order by step"
        ).fetchall()
    assert [run for run, _, _ in found] == [ids["mlflow"]] * 3
    logged = [(row["step"], row["loss"]) for row in history(Run(ended.run))]
    assert [(step, value) for _, step, value in found] == [(step, pytest.approx(loss)) for step, loss in logged]


def rows_of(run: Path) -> list[dict[str, str]]:
    """The table of a run, without empty cells."""
    with (run / "csv" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
